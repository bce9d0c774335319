"""Request bodies: bounded, JSON, typed. Unknown fields are ignored, as clients of the public specification expect."""

from typing import Any, TypeVar

import msgspec
from fastapi import Request

from gateway.control.errors import ApiError, invalid

T = TypeVar("T")
BODY_MAX_BYTES = 8 << 20


async def read(request: Request, most: int = BODY_MAX_BYTES) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            message = f"the request body is larger than {most} bytes"
            raise ApiError(413, message, code="too_large", fix="send less; archives go to the S3 address")
    return bytes(body)


async def decode(request: Request, kind: type[T]) -> T:
    """A body that may be left out counts as `{}`."""
    return parse(await read(request) or b"{}", kind)


def parse(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        field = place.rstrip("`").removeprefix("$").lstrip(".") or None
        raise invalid(f"{field}: {message}" if field else message, field) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"the body is not JSON ({error})", fix="send a JSON object") from error


def given(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object, where it matters which ones were sent."""
    return parse(body or b"{}", dict[str, Any])
