"""A first look at an uploaded archive: is it there, is it a tar? The builder unpacks it, as from an enemy."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path

from gateway.control.errors import invalid

_LOOK_BYTES = 1 << 20
FIX = "push again; an archive is a tar, plain or gzipped, with config.yaml at its top"


def check_archive(path: Path) -> None:
    """Raises ApiError. Reads a bounded part only. Blocks: for a thread."""
    size = path.stat().st_size
    if size == 0:
        raise invalid("the uploaded archive is empty (0 bytes)", "s3_key", FIX)
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            head = gzip.GzipFile(fileobj=raw).read(_LOOK_BYTES) if gzipped else raw.read(_LOOK_BYTES)
        with tarfile.open(fileobj=io.BytesIO(head), mode="r:") as tar:
            first = tar.firstmember  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise invalid(f"the uploaded archive of {size} bytes is not a tar ({error})", "s3_key", FIX) from error
    if first is None:
        raise invalid("the uploaded archive holds no files", "s3_key", FIX)
