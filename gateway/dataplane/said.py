"""What the gateway answers by itself, as bytes. Pure."""

from http import HTTPStatus

from gateway.dataplane.rewrite import Provenance

Lines = tuple[tuple[str, str], ...]


def said(
    status: int, body: bytes, provenance: Provenance, headers: Lines = (), *, keep_alive: bool, bodyless: bool
) -> bytes:
    """`bodyless`: the answer to HEAD."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    close = "" if keep_alive else "connection: close\r\n"
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{lines}{close}{provenance.lines()}\r\n"
    )
    return head.encode("latin-1", "replace") + (b"" if bodyless else body)
