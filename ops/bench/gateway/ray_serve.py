"""Run by Ray's own Python: a Serve application that answers as the model server does, behind Ray Serve's proxy.

    python ray_serve.py PORT LOAD_CORE FOLDER

The replicas move to the load's core, where the other peers' model servers are too; the rest stays with the proxy.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

ANSWER = {"id": "c1", "object": "chat.completion", "model": "m", "choices": [{"message": {"content": "x" * 100}}]}
GAP_S = 0.005


async def events() -> AsyncIterator[str]:
    while True:
        yield 'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"~"}}]}\n\n'
        await asyncio.sleep(GAP_S)


@serve.deployment(num_replicas=2, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
class Model:
    def __init__(self, core: int) -> None:
        os.sched_setaffinity(0, {core})

    async def __call__(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        if body.get("stream"):
            return StreamingResponse(events(), media_type="text/event-stream")
        return JSONResponse(ANSWER)


def main(port: int, core: int, folder: str) -> None:
    # A short folder: Ray puts sockets into it, and their paths may have 107 bytes.
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=folder, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Model.bind(core))  # type: ignore[attr-defined]
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
