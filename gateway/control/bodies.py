"""Request bodies: bounded, JSON, typed. Unknown fields are ignored, as clients of the public specification expect,
but for bodies whose type forbids them."""

import re
from typing import Any, TypeVar

import msgspec
from fastapi import Request

from gateway.control.errors import ApiError, invalid

T = TypeVar("T")
BODY_MAX_BYTES = 8 << 20
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


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
        unknown = _UNKNOWN.fullmatch(message)
        if unknown is not None and field is None:
            fields = ", ".join(getattr(kind, "__struct_fields__", ()))
            raise invalid(f"there is no field {unknown[1]!r}", unknown[1], f"known are {fields}") from error
        raise invalid(f"{field}: {message}" if field else message, field) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"the body is not JSON ({error})", fix="send a JSON object") from error


def given(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object, where it matters which ones were sent."""
    return parse(body or b"{}", dict[str, Any])
