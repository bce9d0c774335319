"""Small files of the run folder, which are there or not."""

from pathlib import Path


def read_or_none(path: Path) -> bytes | None:
    """The content, or None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
