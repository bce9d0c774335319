"""A refusal on the paths of OpenAI's and Anthropic's clients says why where those clients look."""

import msgspec
import pytest

from tests.gateway.dataplane.stage import staged


@pytest.mark.parametrize(
    "path",
    [
        "/model-m1/v1/chat/completions?x=1",
        "/model-m1/production/sync/v1/chat/completions",
        "/openai/v1/chat/completions",
        "/v1/messages",
    ],
)
async def test_sdk_paths_are_refused_in_the_sdks_shape(path: str) -> None:
    async with staged() as stage:
        got = await stage.ask(path, key="wrong.key")
        said = msgspec.json.decode(got.body)
        assert (got.status, said["type"], said["error_code"]) == (401, "error", "unauthorized")
        assert said["error"] | {"message": ""} == {
            "message": "",
            "type": "authentication_error",
            "param": None,
            "code": "unauthorized",
        }
        assert "not valid" in said["error"]["message"]


@pytest.mark.parametrize("path", ["/model-m1/predict", "/model-m1/sync/v1/other"])
async def test_other_paths_are_refused_in_the_inference_apis_shape(path: str) -> None:
    async with staged() as stage:
        said = msgspec.json.decode((await stage.ask(path, key="wrong.key")).body)
        assert said.keys() == {"error", "error_code"} and "not valid" in said["error"]
