"""What the data plane says when it cannot hand a request to a model: one shape, one list of codes.

The body is `{"error", "error_code", "detail"?}`, as the public inference API has it; on the paths of OpenAI's and
Anthropic's clients `error` is an object, as theirs is. The text names what is wrong and what to do about it. A model
server's own errors are not these: they pass through as they are.
"""

from typing import Literal

import msgspec

ErrorCode = Literal[
    "timeout",
    "client_error",
    "model_unavailable",
    "model_not_ready",
    "model_does_not_exist",
    "rate_limited",
    "payload_too_large",
    "unauthorized",
]

_SDK_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


class Problem(msgspec.Struct, frozen=True):
    """An answer that the gateway gives by itself."""

    status: int
    code: ErrorCode
    reason: str
    detail: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def body(self, *, for_sdk: bool = False) -> bytes:
        """`for_sdk`: as the clients of OpenAI and Anthropic read it, who show nothing but `error.message`."""
        shape: dict[str, object] = {"error": self.reason, "error_code": self.code}
        if for_sdk:
            kind = _SDK_KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
            shape["error"] = {"message": self.reason, "type": kind, "param": None, "code": self.code}
            shape["type"] = "error"
        if self.detail is not None:
            shape["detail"] = self.detail
        return msgspec.json.encode(shape)


def client_error(status: int, reason: str, *headers: tuple[str, str]) -> Problem:
    return Problem(status, "client_error", reason, headers=headers)


def not_found(reason: str) -> Problem:
    return Problem(404, "model_does_not_exist", reason)


def too_large(limit_bytes: int, size_bytes: int | None) -> Problem:
    seen = "is larger" if size_bytes is None else f"has {size_bytes} bytes"
    reason = f"the request body may have {limit_bytes} bytes, this one {seen}"
    return Problem(413, "payload_too_large", reason)
