"""Calls of the control API by the command line: JSON there and back, every refusal with its reason and its fix."""

from typing import Any

import aiohttp
import msgspec

CALL_TIMEOUT_S = 120.0


class CallFailed(Exception):
    """The plane refused, or could not be reached. `status`: what it answered, None when nothing came."""

    def __init__(self, message: str, fix: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.fix = fix
        self.status = status


async def call(url: str, api_key: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The decoded answer. Raises CallFailed."""
    headers = {"Authorization": f"Api-Key {api_key}", "Content-Type": "application/json"}
    data = None if body is None else msgspec.json.encode(body)
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            async with session.request(method, url.rstrip("/") + path, data=data, headers=headers) as response:
                content = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise CallFailed(f"no answer from {url}: {reason}", "`causeway status` says what runs") from error
    return _answer(response.status, method, path, content)


def _answer(status: int, method: str, path: str, content: bytes) -> Any:
    try:
        answer = msgspec.json.decode(content) if content else None
    except msgspec.DecodeError:
        answer = None
    if status < 400:
        return answer
    said = answer if isinstance(answer, dict) else {}
    message = said.get("message") or said.get("error") or content.decode(errors="replace")[:300] or "no reason given"
    field = f" ({said['field']})" if said.get("field") else ""
    fix = str(said.get("fix") or "")
    if status == 401 and not fix:
        fix = "set CAUSEWAY_API_KEY to a key of this plane"
    raise CallFailed(f"{method} {path} was refused with {status}: {message}{field}", fix, status)
