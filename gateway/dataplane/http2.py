"""HTTP/2, and so gRPC, is not spoken here; who begins with it is told so in its own language (RFC 9113).

A client with prior knowledge of HTTP/2 understands no HTTP/1.1 answer: it would report a broken connection. So it
gets an empty SETTINGS frame and a GOAWAY with the error HTTP_1_1_REQUIRED, whose text clients show.
"""

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"

_SETTINGS, _GOAWAY = 4, 7
_HTTP_1_1_REQUIRED = 0x0D
_REASON = b"HTTP/2 and gRPC are not served here: use HTTP/1.1"


def _frame(kind: int, payload: bytes) -> bytes:
    """On stream 0, without flags."""
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + bytes(4) + payload


REFUSAL = _frame(_SETTINGS, b"") + _frame(_GOAWAY, bytes(4) + _HTTP_1_1_REQUIRED.to_bytes(4, "big") + _REASON)
