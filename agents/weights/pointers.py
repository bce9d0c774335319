"""A manifest as truss_transfer reads one (`/bptr/bptr-manifest`): where each file is, for a while. Pure.

truss_transfer checks sizes only, so what it fetches is as right as the connection; the node that serves it checked it.
"""

from collections.abc import Callable, Iterable

import msgspec

from agents.weights.fetch import ContentId
from agents.weights.manifest import File


class Resolution(msgspec.Struct, frozen=True):
    url: str
    expiration_timestamp: int
    """Seconds since 1970."""
    resolution_type: str = "http"


class Pointer(msgspec.Struct, frozen=True):
    resolution: Resolution
    uid: str
    file_name: str
    """Below the folder that it downloads to."""
    hash: ContentId
    size: int
    hashtype: str = "etag"
    """A name for the content, not a hash of its bytes."""


class Pointers(msgspec.Struct, frozen=True):
    pointers: tuple[Pointer, ...]


def pointers(files: Iterable[tuple[ContentId, File]], url_of: Callable[[int], str], until_s: int) -> Pointers:
    """`url_of`: of the nth file."""
    return Pointers(
        tuple(
            Pointer(Resolution(url_of(number), until_s), f"{content}/{file.path}", file.path, content, file.size)
            for number, (content, file) in enumerate(files)
        )
    )
