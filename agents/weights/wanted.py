"""What a config asks for under `weights`: a source, where to mount it, which of its files, and how to get in. Pure.

Every scheme that truss accepts is known here by name; what cannot be served is refused with what to write instead.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, get_args

import msgspec

Scheme = Literal["hf", "s3", "r2", "cw", "gs", "azure", "https", "file"]
SCHEMES: tuple[str, ...] = get_args(Scheme)
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".ckpt", ".npz", ".engine")
_DIGITS = re.compile(r"(\d+)")


class BadSource(ValueError):
    """A source that cannot be understood or served; the text names it and the fix."""


class Wanted(msgspec.Struct, frozen=True):
    """One entry of `weights`."""

    source: str
    mount_location: str
    secret: str | None = None
    """Name of the secret that opens it."""
    allow: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The source as anybody may read it: what is behind the question mark of a URL is often a signature."""
        return self.source.partition("?")[0] if self.source.startswith("https://") else self.source


class Address(msgspec.Struct, frozen=True):
    """A source taken apart."""

    scheme: Scheme
    place: str
    """owner/repo, bucket, container, the whole URL or the folder."""
    path: str = ""
    """Below the place: a prefix of keys."""
    revision: str | None = None
    account: str | None = None
    """Of r2 and azure."""


def address_of(source: str) -> Address:
    """Raises BadSource."""
    scheme, mark, rest = source.partition("://")
    if not mark or scheme not in SCHEMES:
        raise BadSource(f"{source!r} must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    if not rest.strip("/"):
        raise BadSource(f"{source!r} names nothing: write {_EXAMPLES[scheme]}")
    if scheme == "https":
        return Address("https", source)
    if scheme == "file":
        if not rest.startswith("/") or ".." in rest.split("/"):
            raise BadSource(f"{source!r} must name an absolute folder, without `..`: write {_EXAMPLES[scheme]}")
        return Address("file", rest)
    if scheme == "hf":
        return _hub(source, rest)
    place, _, path = rest.partition("/")
    path = path.strip("/")
    if scheme == "r2":
        account, dot, bucket = place.partition(".")
        if not dot or not account or not bucket:
            raise BadSource(f"{source!r} lacks account or bucket: write {_EXAMPLES[scheme]}")
        return Address("r2", bucket, path, account=account)
    if scheme == "azure":
        container, _, path = path.partition("/")
        if not container:
            raise BadSource(f"{source!r} lacks the container: write {_EXAMPLES[scheme]}")
        return Address("azure", container, path, account=place)
    return Address("s3" if scheme == "s3" else "cw" if scheme == "cw" else "gs", place, path)


def selected(paths: Sequence[str], wanted: Wanted) -> list[str]:
    """Those that the patterns let through, in the order in which a model needs them.

    Small files that say what the rest is come first, then weights by name, numbers in them as numbers.
    """

    def chosen(path: str) -> bool:
        if wanted.allow is not None and not any(_matches(path, pattern) for pattern in wanted.allow):
            return False
        return not any(_matches(path, pattern) for pattern in wanted.ignore)

    return sorted((path for path in paths if chosen(path)), key=_need)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern)


def _need(path: str) -> tuple[bool, list[str | int], str]:
    natural: list[str | int] = [int(part) if part.isdigit() else part for part in _DIGITS.split(path)]
    return path.endswith(_WEIGHTS), natural, path


def _hub(source: str, rest: str) -> Address:
    repo, _, revision = rest.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo):
        raise BadSource(f"{source!r} is not a repository: write {_EXAMPLES['hf']}")
    return Address("hf", repo, revision=revision or None)


_EXAMPLES = {
    "hf": "hf://owner/repo@revision",
    "s3": "s3://bucket/path",
    "r2": "r2://account_id.bucket/path",
    "cw": "cw://bucket/path",
    "gs": "gs://bucket/path",
    "azure": "azure://account/container/path",
    "https": "https://host/file",
    "file": "file:///folder",
}
