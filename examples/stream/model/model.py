import asyncio
import json
import time
from itertools import cycle, islice

from fastapi import HTTPException
from fastapi.responses import StreamingResponse

MAX_TOKENS = 10_000
MAX_DELAY_S = 60


class Model:
    """Repeats the prompt word by word: the shape and the pace of a language model, with an answer known beforehand."""

    def predict(self, model_input):
        """{"prompt", "max_tokens"?, "delay_s"?} -> the tokens as plain text, one chunk each."""
        words, delay_s = wanted(model_input, model_input.get("prompt", "hello"))
        return paced(words, delay_s)

    async def chat_completions(self, model_input):
        """OpenAI's POST /v1/chat/completions, streamed or whole."""
        messages = model_input.get("messages") or [{}]
        words, delay_s = wanted(model_input, messages[-1].get("content") or "hello")
        head = {
            "id": f"chatcmpl-{time.time_ns()}",
            "created": int(time.time()),
            "model": model_input.get("model", "stream"),
        }
        if model_input.get("stream"):
            return StreamingResponse(server_sent(head, words, delay_s), media_type="text/event-stream")
        text = "".join([word async for word in paced(words, delay_s)])
        message = {"role": "assistant", "content": text}
        return {
            **head,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": len(words), "total_tokens": len(words)},
        }


def wanted(model_input, prompt):
    count = model_input.get("max_tokens", 16)
    delay_s = model_input.get("delay_s", 0.05)
    if not isinstance(count, int) or not 1 <= count <= MAX_TOKENS:
        raise HTTPException(400, f"max_tokens must be a whole number from 1 to {MAX_TOKENS}")
    if not isinstance(delay_s, int | float) or not 0 <= delay_s <= MAX_DELAY_S:
        raise HTTPException(400, f"delay_s must be a number from 0 to {MAX_DELAY_S}")
    return [f"{word} " for word in islice(cycle(str(prompt).split() or ["hello"]), count)], delay_s


async def paced(words, delay_s):
    for word in words:
        yield word
        await asyncio.sleep(delay_s)


async def server_sent(head, words, delay_s):
    def event(delta, finish_reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    yield event({"role": "assistant", "content": ""})
    async for word in paced(words, delay_s):
        yield event({"content": word})
    yield event({}, "length")
    yield "data: [DONE]\n\n"
