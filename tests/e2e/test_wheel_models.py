"""truss's own test models, read from the installed wheel: pushed by its client, run by its server, on this plane.

A few are under way at a time, each deactivated when it has been looked at; the tests only collect what came of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.plane import Plane, Pushed, until
from tests.e2e.projects import from_wheel

AT_A_TIME = 4  # one of them only sleeps
Look = Callable[[Plane, httpx.AsyncClient, Pushed], Awaitable[None]]


def answers(asked: Any, wanted: Any, at: str = "predict", status: int = 200) -> Look:
    async def look(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
        await plane.reaches(pushed, "ACTIVE")
        answer = await http.post(f"{pushed.production}/{at}", json=asked)
        assert (answer.status_code, answer.json()) == (status, wanted), answer.text

    return look


def echoes(**asked: Any) -> Look:
    return answers(asked, asked)


async def typed(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
    await answers({"prompt": "hi"}, {"generated_text": "hi"})(plane, http, pushed)
    wrong = await http.post(f"{pushed.production}/predict", json={"prompt": {}})
    assert wrong.status_code == 400 and "prompt" in wrong.text
    schema = await http.get(f"{pushed.production}/sync/v1/models/model/schema")
    assert schema.json()["input_schema"]["properties"]["prompt"]["type"] == "string", schema.text


async def answers_together(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
    await plane.reaches(pushed, "ACTIVE")
    calls = [http.post(f"{pushed.production}/predict", json={"number": number}) for number in range(4)]
    assert [each.json() for each in await asyncio.gather(*calls)] == [{"number": number} for number in range(4)]


async def speaks_openai(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
    await answers({}, "predict")(plane, http, pushed)
    for path in ("chat/completions", "completions", "embeddings", "messages", "responses"):
        answer = await http.post(f"{pushed.production}/v1/{path}", json={})
        assert answer.json() == path.replace("/", "_"), answer.text


async def streams(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
    await plane.reaches(pushed, "ACTIVE")
    assert await streamed(http, pushed, {}) == ("01234", True)


async def streams_and_breaks(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
    await plane.reaches(pushed, "ACTIVE")
    assert await streamed(http, pushed, {}) == ("01234", True)
    # truss's server ends a stream that broke like one that is complete; the gateway passes on what it is given.
    assert await streamed(http, pushed, {"throw_error": True}) == ("012", True)
    assert await streamed(http, pushed, {}) == ("01234", True), "the model goes on"


async def times_out(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
    await plane.reaches(pushed, "ACTIVE")
    text, whole = await streamed(http, pushed, {})
    assert not whole and "01234".startswith(text)


async def streamed(http: httpx.AsyncClient, pushed: Pushed, asked: Any) -> tuple[str, bool]:
    """What came, and whether it came to a proper end."""
    text = ""
    try:
        async with http.stream("POST", f"{pushed.production}/predict", json=asked) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for piece in answer.aiter_text():
                text += piece
    except httpx.RemoteProtocolError:
        return text, False
    return text, True


async def loads_for_long(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
    """It takes 20 seconds, in which it is neither up nor failed."""
    await plane.reaches(pushed, "LOADING_MODEL")
    assert (await plane.reaches(pushed, "ACTIVE"))["reason"].endswith("is ready")


def fails(status: str, *words: str) -> Look:
    async def look(plane: Plane, http: httpx.AsyncClient, pushed: Pushed) -> None:
        async def failed() -> dict[str, Any] | None:
            shown = await plane.deployment(pushed)
            return shown if shown["status"].endswith("FAILED") else None

        shown = await until(failed, f"{pushed.deployment_id} fails")
        assert shown["status"] == status, shown
        assert all(word in shown["reason"] for word in words), shown["reason"]

    return look


PYDANTIC = '{\n    "foo": "bla",\n    "bar": 123\n}'
MODELS: dict[str, Look] = {
    "server_conformance_test_truss": loads_for_long,
    "annotated_types_truss": typed,
    "gcs_fix": echoes(words="these"),
    "test_basic_truss": echoes(number=7),
    "test_concurrency_truss": answers_together,
    "test_async_truss": answers({"k": 1}, {"preprocess_value": "value", "k": 1, "postprocess_value": "value"}),
    "test_openai": speaks_openai,
    "test_pyantic_v2": answers({}, PYDANTIC),
    "test_streaming_truss": streams,
    "test_streaming_async_generator_truss": streams,
    "test_streaming_truss_with_tracing": streams,
    "test_streaming_truss_with_error": streams_and_breaks,
    "test_streaming_read_timeout": times_out,
    "test_truss": answers({}, {"predictions": []}),
    "test_build_commands": answers({}, {"predictions": [1, 2]}),
    "test_build_commands_truss": answers({}, "TEST_SECOND_VALUE"),
    "test_build_commands_failure": fails("BUILD_FAILED", "haha"),
    "test_truss_with_error": answers({}, {"error": "Internal Server Error (in model/chainlet)."}, status=500),
    "model_load_failure_test": fails("DEPLOY_FAILED", "Exception"),
}
REFUSED = {
    "test_custom_server_truss": "docker_server",
    "test_non_root_base_image": "base_image",
    "test_trt_llm_truss": "trt_llm",
}


@pytest.fixture(scope="module")
def jobs(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    into = tmp_path_factory.mktemp("wheel")
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        started = {name: pool.submit(asyncio.run, job(plane, name, look, into)) for name, look in MODELS.items()}
        yield started
        for each in started.values():
            each.cancel()


async def job(plane: Plane, name: str, look: Look, into: Path) -> None:
    pushed = await plane.push(from_wheel(name, into), "--model-name", name)
    async with plane.http() as http:
        try:
            await look(plane, http, pushed)
        finally:
            (await http.post(f"{pushed.resource}/deactivate?force=true")).raise_for_status()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_from_the_wheel_behaves_as_truss_says(name: str, jobs: dict[str, Future[None]]) -> None:
    jobs[name].result()


@pytest.mark.parametrize("name", REFUSED)
async def test_what_this_version_cannot_run_is_refused_at_push(plane: Plane, name: str, tmp_path: Path) -> None:
    said = await plane.truss("push", str(from_wheel(name, tmp_path)), "--non-interactive", "--model-name", name)
    assert said.code == 1 and REFUSED[name] in said.told and "not supported" in said.told, said
