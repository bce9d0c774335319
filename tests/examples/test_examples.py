"""The examples do what their READMEs say; `minilm` and `iris` in environments built from their own bundles.

Over HTTP, through the real model server, they are exercised by tests/e2e.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.responses import StreamingResponse

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
UV = ROOT / ".venv" / "bin" / "uv"
IRIS = """
import json, sys
from model.model import Model
model = Model()
model.load()
for key in ("instances", "inputs"):
    print(json.dumps(model.predict({key: json.load(open("request.json"))["instances"]})))
try:
    model.predict({"instances": [[1, 2, 3]]})
except Exception as refusal:
    print(json.dumps([refusal.status_code, refusal.detail]))
"""


def environment(example: str, scratch: Path) -> Path:
    """A Python with the packages that the example's bundle names, resolved as the builder resolves them."""
    tools = ROOT / "ops" / "truss_tools" / "context.py"
    toolchain = ROOT / ".venv-truss" / "bin" / "python"
    subprocess.run([toolchain, tools, EXAMPLES / example, scratch / "bundle", "--uv", UV], check=True)
    bundle = json.loads((scratch / "bundle" / "bundle.json").read_text())
    for name in ("requirements", "constraints", "overrides"):
        (scratch / name).write_text("\n".join(bundle[name]) + "\n")
    given: list[str | Path] = [
        "-c",
        scratch / "constraints",
        "--override",
        scratch / "overrides",
        scratch / "requirements",
    ]
    python = scratch / "venv" / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, scratch / "venv"], check=True)
    subprocess.run([UV, "pip", "compile", "--quiet", "--python", python, *given, "-o", scratch / "lock"], check=True)
    subprocess.run([UV, "pip", "sync", "--quiet", "--python", python, scratch / "lock"], check=True)
    return python


def model_of(example: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{example}_model", EXAMPLES / example / "model" / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model()
    if hasattr(model, "load"):
        model.load()
    return model


def request_of(example: str) -> Any:
    return json.loads((EXAMPLES / example / "request.json").read_text())


def test_minilm_agrees_with_the_similarities_its_authors_publish(tmp_path: Path) -> None:
    python = environment("minilm", tmp_path)

    checked = subprocess.run(
        [python, "-B", "check.py"], cwd=EXAMPLES / "minilm", capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
    assert not list(tmp_path.glob("venv/lib/python3*/site-packages/torch"))


def test_iris_names_species_with_their_probabilities(tmp_path: Path) -> None:
    python = environment("iris", tmp_path)

    ran = subprocess.run([python, "-B", "-c", IRIS], cwd=EXAMPLES / "iris", capture_output=True, text=True, check=True)

    instances, inputs, (status, detail) = map(json.loads, ran.stdout.splitlines())
    assert instances == inputs
    assert instances["predictions"] == ["setosa", "virginica"]
    for species, probabilities in zip(instances["predictions"], instances["probabilities"], strict=True):
        assert max(probabilities, key=probabilities.__getitem__) == species
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert status == 400 and "instances" in detail


async def test_stream_gives_the_prompts_words_one_chunk_each() -> None:
    model = model_of("stream")

    chunks = [chunk async for chunk in model.predict({**request_of("stream"), "delay_s": 0})]

    assert len(chunks) == 20
    assert chunks[:6] == ["to ", "be ", "or ", "not ", "to ", "be "]


async def test_stream_speaks_openai_chat_whole_and_as_server_sent_events() -> None:
    model = model_of("stream")
    asked = {"messages": [{"role": "user", "content": "so be it"}], "max_tokens": 2, "delay_s": 0}

    whole = await model.chat_completions(asked)
    streamed = await model.chat_completions({**asked, "stream": True})

    assert whole["choices"][0]["message"]["content"] == "so be "
    assert isinstance(streamed, StreamingResponse)
    events = [str(event).removeprefix("data: ").strip() async for event in streamed.body_iterator]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "so be "


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"max_tokens": "many"}, {"delay_s": -1}])
def test_stream_refuses_a_pace_it_cannot_keep(wrong: dict[str, Any]) -> None:
    with pytest.raises(HTTPException) as refusal:
        model_of("stream").predict({"prompt": "a", **wrong})

    assert refusal.value.status_code == 400
    assert next(iter(wrong)) in str(refusal.value.detail)


def test_counter_counts_and_says_which_process_did() -> None:
    model = model_of("counter")

    first, second = model.predict(request_of("counter")), model.predict({})

    assert (first["count"], second["count"]) == (2, 3)
    assert first["pid"] == second["pid"] and first["started_at"] == second["started_at"]
