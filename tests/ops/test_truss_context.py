"""Bundles are laid out, and configs judged, inside the truss toolchain.

On truss's own sample projects, read from its wheel, on our examples, and on projects broken in one way each.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLCHAIN = ROOT / ".venv-truss"
PYTHON = TOOLCHAIN / "bin" / "python"
CONTEXT = ROOT / "ops" / "truss_tools" / "context.py"
UV = ROOT / ".venv" / "bin" / "uv"
EXAMPLES = ("counter", "iris", "minilm", "stream")
# The sample projects that need no container image, no GPU and no remote weights.
SAMPLES = (
    "annotated_types_truss", "gcs_fix", "model_load_failure_test", "server_conformance_test_truss",
    "test_async_truss", "test_basic_truss", "test_build_commands", "test_build_commands_failure",
    "test_build_commands_truss", "test_concurrency_truss", "test_openai", "test_pyantic_v1", "test_pyantic_v2",
    "test_requirements_file_truss", "test_streaming_async_generator_truss", "test_streaming_read_timeout",
    "test_streaming_truss", "test_streaming_truss_with_error", "test_streaming_truss_with_tracing",
    "test_truss", "test_truss_with_error",
)  # fmt: skip
# All samples in one process, for importing truss takes longer than the work. Prints for each project its hash
# before and after, and what is said about its config as `truss push` sends it.
LAY_OUT_ALL = """
import json, pathlib, sys
tools, uv, out, *projects = sys.argv[1:]
sys.path.insert(0, tools)
import truss
from truss.base.truss_config import TrussConfig
from truss.truss_handle.patch.hash import directory_content_hash
from config_problems import findings
from context import build_bundle
for name in projects:
    project = pathlib.Path(name)
    before = directory_content_hash(project)
    pushed = TrussConfig.from_yaml(project / "config.yaml").to_dict(verbose=True)
    build_bundle(project, pathlib.Path(out) / project.name, uv)
    print(json.dumps([before, directory_content_hash(project), pushed, findings(json.dumps(pushed)).errors]))
"""


async def run(*argv: str | Path, text: str = "") -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        PYTHON,
        *argv,
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await child.communicate(text.encode())
    assert child.returncode in (0, 2), errors.decode()
    return child.returncode, out.decode()


async def bundle_of(project: Path, out: Path) -> dict[str, Any]:
    code, said = await run(CONTEXT, project, out, "--uv", UV)
    assert code == 0, said
    bundle: dict[str, Any] = json.loads((out / "bundle.json").read_text())
    return bundle


async def refusal_of(project: Path, out: Path) -> dict[str, str]:
    code, said = await run(CONTEXT, project, out, "--uv", UV)
    assert code == 2 and not (out / "bundle.json").exists()
    refusal: dict[str, str] = json.loads(said)["error"]
    return refusal


async def judged(config: str) -> dict[str, Any]:
    code, said = await run(CONTEXT, "--check-config", "-", text=config)
    report: dict[str, Any] = json.loads(said)
    assert (code == 2) == bool(report["errors"])
    return report


def project(at: Path, config: str = "model_name: m", files: Mapping[str, str] | None = None) -> Path:
    for name, content in {"model/model.py": "class Model: ...", "config.yaml": config, **(files or {})}.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return at


def sample_projects() -> list[Path]:
    (samples,) = TOOLCHAIN.glob("lib/python3.*/site-packages/truss/tests/test_data")
    return [samples / name for name in SAMPLES] + [ROOT / "examples" / name for name in EXAMPLES]


async def test_every_sample_project_becomes_a_bundle_and_is_itself_left_alone(tmp_path: Path) -> None:
    projects = sample_projects()

    _, printed = await run("-c", LAY_OUT_ALL, CONTEXT.parent, UV, tmp_path, *projects)

    for sample, line in zip(projects, printed.splitlines(), strict=True):
        before, after, pushed, errors = json.loads(line)
        out = tmp_path / sample.name
        bundle = json.loads((out / "bundle.json").read_text())
        assert before == after == bundle["truss_hash"], sample.name
        assert set(json.loads(bundle["truss_signature"])) >= {"content_hashes_by_path", "config"}
        assert bundle["python_version"] is None
        assert bundle["environment_variables"] == pushed["environment_variables"]
        for laid in ("main.py", "truss_server.py", "config.yaml", "model/model.py", "data"):
            assert (out / "app" / laid).exists(), f"{sample.name} lacks {laid}"
        assert {each.name for each in out.iterdir()} == {"app", "packages", "bundle.json"}
        assert (sample / "packages").exists() == any((out / "packages").iterdir())
        assert errors == []


async def test_a_bundle_states_what_the_replica_needs_to_know(tmp_path: Path) -> None:
    config = """
model_name: wide
python_version: py312
requirements: ["NumPy==2.3.5  # newer than the server's", "httpx"]
environment_variables: {DEBUG: true, LEVEL: 3}
secrets: {token: null, account: null}
build_commands: ["touch data/made"]
resources: {cpu: 1500m, memory: 512Mi, accelerator: "L4:2"}
runtime: {predict_concurrency: 7, streaming_read_timeout: 9, health_checks: {startup_threshold_seconds: 30}}
external_data: [{url: "http://127.0.0.1/x", local_data_path: x.bin}]
data_dir: assets
live_reload: true
"""
    files = {"assets/a.txt": "a", "packages/p/__init__.py": "", "model/part.py": ""}

    bundle = await bundle_of(project(tmp_path / "in", config, files), tmp_path / "out")

    assert (tmp_path / "out" / "app" / "data" / "a.txt").read_text() == "a"
    assert (tmp_path / "out" / "packages" / "p" / "__init__.py").exists()
    assert "live_reload: false" in (tmp_path / "out" / "app" / "config.yaml").read_text()
    assert bundle["python_version"] == "3.12"
    assert bundle["requirements"][-2:] == ["NumPy==2.3.5", "httpx"]
    assert not [line for line in bundle["requirements"] if line.startswith(("numpy", "-"))]
    assert "numpy>=1.23.5,<3.0" in bundle["constraints"]
    assert bundle["overrides"] == ["certifi>=2025.1.31"]
    assert bundle["environment_variables"] == {"DEBUG": "true", "LEVEL": "3"}
    assert bundle["secrets"] == ["account", "token"]
    assert bundle["build_commands"] == ["touch data/made"]
    assert (bundle["predict_concurrency"], bundle["streaming_read_timeout"]) == (7, 9)
    assert bundle["health_checks"]["startup_threshold_seconds"] == 30
    assert bundle["external_data"][0]["local_data_path"] == "x.bin"
    assert bundle["resources"] == {
        "cpu_millicores": 1500,
        "memory_bytes": 512 * 1024**2,
        "accelerator": "L4:2",
        "instance_type": None,
    }


async def test_requirements_come_from_whichever_file_the_project_names(tmp_path: Path) -> None:
    plain = {"deps/requirements.txt": "# ours\nhttpx==0.28.1 \\\n  # exact\ncertifi==2025.1.31\n"}
    pyproject = """
[project]
name = "p"
version = "0"
requires-python = ">=3.11"
dependencies = ["idna==3.10", "big"]
[tool.uv]
override-dependencies = ["big ; python_version < '3'"]
constraint-dependencies = ["h11<1"]
"""
    locked = (
        'version = 1\nrequires-python = ">=3.11"\n[[package]]\nname = "p"\nversion = "0"\nsource = { virtual = "." }\n'
    )

    lines = await bundle_of(
        project(tmp_path / "a", "requirements_file: ./deps/requirements.txt", plain), tmp_path / "a-out"
    )
    table = await bundle_of(
        project(tmp_path / "b", "requirements_file: pyproject.toml", {"pyproject.toml": pyproject}),
        tmp_path / "b-out",
    )
    lock = await bundle_of(
        project(
            tmp_path / "c",
            "requirements_file: uv.lock",
            {"pyproject.toml": '[project]\nname = "p"\nversion = "0"\nrequires-python = ">=3.11"\n', "uv.lock": locked},
        ),
        tmp_path / "c-out",
    )

    assert lines["requirements"][-2:] == ["httpx==0.28.1", "certifi==2025.1.31"]
    assert lines["overrides"] == []
    assert not [line for line in lines["constraints"] if line.startswith("certifi")]
    assert table["requirements"][-2:] == ["idna==3.10", "big"]
    assert table["overrides"] == ["big ; python_version < '3'", "certifi>=2025.1.31"]
    assert table["constraints"][-1] == "h11<1"
    assert lock["requirements"]


async def test_a_broken_project_is_refused_with_field_and_fix(tmp_path: Path) -> None:
    no_model = project(tmp_path / "a", "model_class_filename: other.py")
    no_config = project(tmp_path / "b")
    (no_config / "config.yaml").rename(no_config / "config.yml")
    no_requirements = project(tmp_path / "c", "requirements_file: needed.txt")
    nested = project(tmp_path / "d", "requirements_file: r.txt", {"r.txt": "-r more.txt\n"})
    bad_lock = project(tmp_path / "e", "requirements_file: uv.lock", {"uv.lock": "{"})
    unknown = project(tmp_path / "f", "requirments: [numpy]")
    not_text = project(tmp_path / "g")
    (not_text / "config.yaml").write_bytes(b"model_name: \xff\xfe")
    flag = project(tmp_path / "h", "build: {no_cache: true}")

    refusals = [
        await refusal_of(each, tmp_path / "out" / each.name)
        for each in (no_model, no_config, no_requirements, nested, bad_lock, unknown, not_text, flag)
    ]

    assert [refusal["field"] for refusal in refusals] == [
        "model_class_filename",
        "config.yaml",
        "requirements_file",
        "requirements_file",
        "requirements_file",
        "requirments",
        "config.yaml",
        "build.no_cache",
    ]
    assert "model/other.py is not in the project" in refusals[0]["message"]
    assert "config.yml" in refusals[1]["message"]
    assert "-r more.txt" in refusals[3]["message"]
    assert refusals[5]["fix"] == "write `requirements`"
    assert all(refusal["fix"] for refusal in refusals)


async def test_all_problems_of_a_config_are_told_at_once() -> None:
    report = await judged("""
model_nam: m
python_version: py27
requirements: numpy
environment_variables: [A]
data_dir: ../outside
resources: {cpu: lots, memory: 2Xi, accelerator: L400, acelerator: L4}
runtime: {predict_concurrency: many, health_checks: {startup_treshold_seconds: 1}, transport: {kind: grpc}}
docker_server: {start_command: x}
weights:
- {source: "hf://o/r", mount_location: /m}
- {source: "gs://b/r", mount_location: /usr/lib}
- source: "s3://b/r"
  mount_location: /m/below
  auth: {auth_method: AWS_OIDC, aws_oidc_role_arn: a, aws_oidc_region: b}
- {source: "hf://owner/repo/more", mount_location: /n/1, allow_patterns: []}
- {source: "r2://bucket/path", mount_location: /n/2, ignore_patterns: ["/config.json", "onnx/"]}
- {source: "azure://account", mount_location: /n/3, allow_patterns: ["../x", "*.bin"]}
- {source: "cw://bucket/path", mount_location: /n/4}
- {source: "s3://a bucket/path", mount_location: /n/5}
external_data: [{url: "http://x"}, {url: "s3://x/y", local_data_path: y}]
system_packages: [ffmpeg]
""")

    fixes = {problem["field"]: problem["fix"] for problem in report["errors"]}
    assert set(fixes) == {
        "model_nam", "python_version", "requirements", "environment_variables", "data_dir", "resources.cpu",
        "resources.memory", "resources.accelerator", "resources.acelerator", "runtime.predict_concurrency",
        "runtime.health_checks.startup_treshold_seconds", "runtime.transport", "docker_server",
        "weights.1.mount_location", "weights.2.mount_location", "weights.2.auth.auth_method",
        "weights.3.source", "weights.3.allow_patterns", "weights.4.source", "weights.4.ignore_patterns",
        "weights.5.source", "weights.5.allow_patterns", "weights.6.auth_secret_name", "weights.7.source",
        "external_data.0.local_data_path", "external_data.1.url",
    }  # fmt: skip
    assert fixes["model_nam"] == "write `model_name`"
    assert fixes["resources.acelerator"] == "write `accelerator`"
    assert fixes["runtime.health_checks.startup_treshold_seconds"] == "write `startup_threshold_seconds`"
    assert all(fixes.values())
    assert any("system_packages" in warning for warning in report["warnings"])
    assert report["error"] == report["errors"][0]


@pytest.mark.parametrize("broken", ["a: [", "- a\n- b", '{"a": '])
async def test_text_that_is_no_config_is_said_to_be_none(broken: str) -> None:
    (problem,) = (await judged(broken))["errors"]

    assert problem["field"] == "config.yaml" and problem["fix"]


async def test_weights_and_the_older_model_cache_come_to_the_same(tmp_path: Path) -> None:
    patterns = "allow_patterns: ['*.safetensors'], ignore_patterns: ['*.bin']"
    configs = {
        "weights": f"""
weights:
- {{source: "hf://owner/repo@abcdef", mount_location: /app/model_cache/base/, auth_secret_name: mine, {patterns}}}
""",
        "cache": f"""
model_cache:
- {{repo_id: owner/repo, revision: abcdef, use_volume: true, volume_folder: base, runtime_secret_name: mine,
   {patterns}}}
""",
    }
    for name, config in configs.items():
        project = tmp_path / name
        (project / "model").mkdir(parents=True)
        (project / "config.yaml").write_text(f"model_name: m\n{config}")
        (project / "model" / "model.py").write_text("class Model:\n    pass\n")
        code, said = await run(CONTEXT, project, tmp_path / f"{name}-out", "--uv", UV)
        assert code == 0, said
        assert json.loads((tmp_path / f"{name}-out" / "bundle.json").read_text())["weights"] == [
            {
                "source": "hf://owner/repo@abcdef", "mount_location": "/app/model_cache/base", "secret": "mine",
                "allow": ["*.safetensors"], "ignore": ["*.bin"],
            }
        ]  # fmt: skip


async def test_a_model_cache_may_name_a_bucket_with_its_scheme_or_without(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "model").mkdir(parents=True)
    (project / "model" / "model.py").write_text("class Model:\n    pass\n")
    (project / "config.yaml").write_text("""
model_name: m
model_cache:
- {repo_id: "gs://bucket/llm", kind: gcs, revision: main, use_volume: true, volume_folder: a}
- {repo_id: account/container/llm, kind: azure, use_volume: true, volume_folder: b, runtime_secret_name: mine}
""")
    code, said = await run(CONTEXT, project, tmp_path / "out", "--uv", UV)
    assert code == 0, said
    weights = json.loads((tmp_path / "out" / "bundle.json").read_text())["weights"]
    assert [(each["source"], each["secret"]) for each in weights] == [
        ("gs://bucket/llm", None),
        ("azure://account/container/llm", "mine"),
    ]


async def test_a_model_cache_that_wants_an_image_is_refused() -> None:
    report = await judged("model_cache: [{repo_id: o/r, use_volume: false}]")
    assert [problem["field"] for problem in report["errors"]] == ["model_cache.0.use_volume"]
