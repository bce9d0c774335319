"""The clients that users have, untouched, against real truss model servers through the gateway.

What streams has to arrive word by word: the model waits at a gate before each word until this test, having got the
word before, asks it to go on. A gateway that held anything back would wait for ever.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from websockets.exceptions import ConnectionClosedError

from tests.e2e.plane import Plane, Pushed, Said, program
from tests.e2e.projects import FIXTURES, project
from tests.e2e.test_websockets import dial

SAID = "one two three"
WORDS = ["one ", "two ", "three "]
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": SAID}]
UNKNOWN = "/model-nosuchmodel/production"
ROOM = "runtime:\n  predict_concurrency: 32\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("chat") / "chat", "chat", (FIXTURES / "chat.py").read_text(), ROOM)


@pytest.fixture(scope="module")
def chat(plane: Plane, folder: Path) -> Pushed:
    return asyncio.run(plane.active(folder))


class Gate:
    """The model's gate of this name."""

    def __init__(self, plane: Plane, chat: Pushed, name: str) -> None:
        self.name = name
        self._url = f"{plane.url}{chat.production}/predict"
        self._how: dict[str, Any] = {"headers": {"Authorization": f"Bearer {plane.key}"}, "timeout": 60}

    def let_pass(self) -> None:
        assert httpx.post(self._url, json={"pass": self.name}, trust_env=False, **self._how).status_code == 200

    async def ask(self, what: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(self._url, json={what: self.name}, **self._how)
        assert answer.status_code == 200, answer.text

    def has_left(self) -> None:
        """Returns when the model has seen that the caller is gone."""
        asyncio.run(self.ask("has_left"))


@pytest.fixture
def gate(plane: Plane, chat: Pushed, request: pytest.FixtureRequest) -> Gate:
    return Gate(plane, chat, request.node.name)


@pytest.fixture
def client(plane: Plane, chat: Pushed) -> Iterator[openai.OpenAI]:
    with openai_client(plane, chat.production) as made:
        yield made


def openai_client(plane: Plane, path: str, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{plane.url}{path}/v1",
        api_key=plane.key if key is None else key,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        max_retries=0,
        timeout=60,
    )


@pytest.fixture
async def async_client(plane: Plane, chat: Pushed) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{plane.url}{chat.production}/v1",
        api_key=plane.key,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        max_retries=0,
        timeout=60,
    ) as made:
        yield made


# The OpenAI SDK


def test_openai_chat_completion(client: openai.OpenAI, chat: Pushed) -> None:
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=MESSAGES)
    whole = raw.parse()
    assert whole.choices[0].message.content == SAID and whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None and whole.usage.completion_tokens == 3
    assert whole.model == "chat"
    assert raw.headers["x-causeway-deployment"] == chat.deployment_id and raw.request_id


def test_openai_streams_word_by_word(client: openai.OpenAI, gate: Gate) -> None:
    words = []
    with client.chat.completions.create(
        model="chat", messages=MESSAGES, stream=True, extra_body={"gate": gate.name}
    ) as stream:
        for chunk in stream:
            words.append(chunk.choices[0].delta.content)
            gate.let_pass()
    assert words == [*WORDS, None]


async def test_openai_async_streams_word_by_word(async_client: openai.AsyncOpenAI, gate: Gate) -> None:
    words = []
    stream = await async_client.chat.completions.create(
        model="chat", messages=MESSAGES, stream=True, extra_body={"gate": gate.name}
    )
    async for chunk in stream:
        words.append(chunk.choices[0].delta.content)
        await gate.ask("pass")
    assert words == [*WORDS, None]


async def test_openai_async_answers_many_at_once(async_client: openai.AsyncOpenAI) -> None:
    async def ask(number: int) -> str | None:
        mine: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"number {number}"}]
        return (await async_client.chat.completions.create(model="chat", messages=mine)).choices[0].message.content

    assert await asyncio.gather(*(ask(each) for each in range(20))) == [f"number {each}" for each in range(20)]


def test_openai_legacy_completions_whole_and_streamed(client: openai.OpenAI, gate: Gate) -> None:
    assert client.completions.create(model="chat", prompt=SAID).choices[0].text == SAID
    words = []
    for chunk in client.completions.create(model="chat", prompt=SAID, stream=True, extra_body={"gate": gate.name}):
        words.append(chunk.choices[0].text)
        gate.let_pass()
    assert words == WORDS


@pytest.mark.parametrize("how", [{}, {"encoding_format": "float"}], ids=["base64, as it asks by itself", "numbers"])
def test_openai_embeddings(client: openai.OpenAI, how: Any) -> None:
    answer = client.embeddings.create(model="chat", input=["seen", "a"], **how)
    assert [each.embedding for each in answer.data] == [[4.0, 2.0, 0.5], [1.0, 0.0, 0.5]]


def test_the_model_is_told_when_an_openai_stream_is_closed(client: openai.OpenAI, gate: Gate) -> None:
    stream = client.chat.completions.create(
        model="chat", messages=MESSAGES, stream=True, extra_body={"gate": gate.name}
    )
    assert next(iter(stream)).choices[0].delta.content == "one "
    stream.close()
    gate.has_left()


def test_openai_tells_a_key_that_is_not_valid(plane: Plane, chat: Pushed) -> None:
    with openai_client(plane, chat.production, "wrong.key") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.chat.completions.create(model="chat", messages=MESSAGES)
    assert refused.value.request_id and "not valid" in str(refused.value)
    assert (refused.value.code, refused.value.type) == ("unauthorized", "authentication_error")


def test_openai_tells_a_model_that_does_not_exist(plane: Plane) -> None:
    with openai_client(plane, UNKNOWN) as client:
        with pytest.raises(openai.NotFoundError) as refused:
            client.chat.completions.create(model="chat", messages=MESSAGES)
    assert (refused.value.code, refused.value.type) == ("model_does_not_exist", "not_found_error")
    assert "nosuchmodel" in str(refused.value)


def test_openai_tells_what_the_model_itself_refuses(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "refuse"}])
    assert refused.value.body == "this model refuses to say that"
    with pytest.raises(openai.InternalServerError) as broken:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "break"}])
    assert "Internal Server Error" in str(broken.value.body)
    with pytest.raises(openai.NotFoundError):  # the model has no such method
        client.responses.create(model="chat", input="hello")


def test_openai_finds_models_at_one_base_url_for_all(plane: Plane, chat: Pushed) -> None:
    with openai_client(plane, "/openai") as client:
        assert "chat" in [each.id for each in client.models.list()]
        answer = client.chat.completions.with_raw_response.create(model="chat", messages=MESSAGES)
        assert answer.headers["x-causeway-deployment"] == chat.deployment_id
        assert answer.parse().choices[0].message.content == SAID


# The Anthropic SDK


@pytest.fixture(params=["api_key", "auth_token"])
def claude(plane: Plane, chat: Pushed, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    """Both ways that it has to send a key: `x-api-key` and `Authorization: Bearer`."""
    with anthropic_client(plane, chat.production, **{request.param: plane.key}) as made:
        yield made


def anthropic_client(plane: Plane, path: str, **key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=f"{plane.url}{path}",
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
        max_retries=0,
        timeout=60,
        **key,  # type: ignore[arg-type]
    )


def test_anthropic_message(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model="chat", max_tokens=9, messages=[{"role": "user", "content": SAID}])
    assert [each.text for each in answer.content if each.type == "text"] == [SAID]
    assert answer.stop_reason == "end_turn" and answer.usage.output_tokens == 3


def test_anthropic_streams_word_by_word(claude: anthropic.Anthropic, gate: Gate) -> None:
    words = []
    with claude.messages.stream(
        model="chat", max_tokens=9, messages=[{"role": "user", "content": SAID}], extra_body={"gate": gate.name}
    ) as stream:
        for word in stream.text_stream:
            words.append(word)
            gate.let_pass()
        assert stream.get_final_message().stop_reason == "end_turn"
    assert words == WORDS


def test_anthropic_tells_a_key_that_is_not_valid(plane: Plane, chat: Pushed) -> None:
    for key in ({"auth_token": "wrong.key"}, {"api_key": "wrong.key"}):
        with anthropic_client(plane, chat.production, **key) as client:
            with pytest.raises(anthropic.AuthenticationError, match="not valid"):
                client.messages.create(model="chat", max_tokens=9, messages=[{"role": "user", "content": SAID}])


def test_anthropic_names_the_model_at_one_base_url_for_all(plane: Plane, chat: Pushed) -> None:
    asked: Any = {"max_tokens": 9, "messages": [{"role": "user", "content": SAID}]}
    with anthropic_client(plane, "", api_key=plane.key) as client:
        raw = client.messages.with_raw_response.create(model="chat", **asked)
        assert raw.headers["x-causeway-deployment"] == chat.deployment_id
        with pytest.raises(anthropic.NotFoundError, match="nosuchmodel"):
            client.messages.create(model="nosuchmodel", **asked)


# httpx


def test_httpx_streams_word_by_word(plane: Plane, chat: Pushed, gate: Gate) -> None:
    headers = {"Authorization": f"Api-Key {plane.key}"}
    asked = {"stream": SAID, "gate": gate.name}
    words = []
    with (
        httpx.Client(base_url=plane.url, headers=headers, timeout=60, trust_env=False) as http,
        http.stream("POST", f"{chat.production}/predict", json=asked) as answer,
    ):
        assert answer.headers["transfer-encoding"] == "chunked"
        for word in answer.iter_raw():
            words.append(word.decode())
            gate.let_pass()
    assert words == WORDS


async def test_httpx_async_sends_a_body_of_unknown_length(chat: Pushed, http: httpx.AsyncClient) -> None:
    body = json.dumps({"letters": "abc" * 200_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 50_000):
            yield body[at : at + 50_000]

    answer = await http.post(f"{chat.production}/predict", content=pieces())
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.json() == json.loads(body)


async def test_the_model_is_told_when_a_caller_leaves_before_any_answer(
    chat: Pushed, http: httpx.AsyncClient, gate: Gate
) -> None:
    calling = asyncio.create_task(http.post(f"{chat.production}/predict", json={"wait_at": gate.name}))
    await gate.ask("has_begun")
    calling.cancel()
    await gate.ask("has_left")


async def test_the_callers_key_ends_at_the_gateway_and_its_request_id_does_not(
    plane: Plane, chat: Pushed, http: httpx.AsyncClient
) -> None:
    wanted = {"headers": ["authorization", "x-request-id", "x-forwarded-for", "x-mine"]}
    answer = await http.post(
        f"{chat.production}/predict", json=wanted, headers={"X-Request-Id": "mine-1", "X-Mine": "kept"}
    )
    assert answer.json() == {
        "authorization": None,
        "x-request-id": "mine-1",
        "x-forwarded-for": "127.0.0.1",
        "x-mine": "kept",
    }
    assert answer.headers["x-request-id"] == "mine-1"


# curl and the truss CLI

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
async def test_curl_gets_what_the_readme_says(plane: Plane, chat: Pushed) -> None:
    said = await curl(plane, chat, "-d", '{"a": 1}', "--write-out", "%{stderr}%{http_code} %{http_version}")
    assert (json.loads(said.out), said.err) == ({"a": 1}, "200 1.1"), said
    upload = await curl(plane, chat, "-T", "-", "-X", "POST", stdin=json.dumps(["x" * 100_000]))
    assert upload.code == 0 and len(json.loads(upload.out)[0]) == 100_000
    refused = await curl(plane, chat, "--fail-with-body", "-d", "no json")
    assert refused.code == 22 and "Invalid JSON" in refused.out, refused


async def curl(plane: Plane, chat: Pushed, *more: str, stdin: str = "") -> Said:
    url = f"{plane.url}{chat.production}/predict"
    key = f"Authorization: Api-Key {plane.key}"
    return await program("curl", "-sS", "--noproxy", "*", "-H", key, *more, url, environ=plane.environ, stdin=stdin)


@needs_curl
async def test_curl_streams_word_by_word_and_the_model_is_told_when_it_is_killed(
    plane: Plane, chat: Pushed, gate: Gate
) -> None:
    key = f"Authorization: Api-Key {plane.key}"
    asked = json.dumps({"stream": SAID, "gate": gate.name})
    argv = ("curl", "-sSN", "--noproxy", "*", "-H", key, "-d", asked, f"{plane.url}{chat.production}/predict")
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    try:
        assert child.stdout is not None
        assert await child.stdout.readexactly(4) == b"one "
        await gate.ask("pass")
        assert await child.stdout.readexactly(4) == b"two "
    finally:
        child.kill()
        await child.wait()
    await gate.ask("has_left")


async def test_truss_predict_prints_whole_and_streamed_answers(plane: Plane, chat: Pushed, folder: Path) -> None:
    async def predict(asked: object) -> Said:
        flags = ("--published", "--target-directory", str(folder), "--data", json.dumps(asked))
        return await plane.truss("predict", *flags)

    whole, streamed = await asyncio.gather(predict({"a": [1, 2]}), predict({"stream": SAID}))
    assert whole.code == 0 and '"a": [ 1, 2 ]' in whole.told, whole
    assert streamed.code == 0 and SAID in streamed.told, streamed


async def test_a_model_without_websocket_closes_with_its_reason(plane: Plane, chat: Pushed) -> None:
    async with dial(plane, f"{chat.production}/websocket") as ws:
        with pytest.raises(ConnectionClosedError) as ended:
            await ws.recv()
    assert ended.value.rcvd is not None and ended.value.rcvd.code == 1003
