"""The frozen files: where they are, their checksums, and how a missing one is added."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from events.codec import encode
from events.union import AnyEvent
from tests.golden.values import META, VALUES

EVENTS = Path(__file__).parent / "events"


def path_of(name: str, folder: Path = EVENTS) -> Path:
    return folder / f"{name}.json"


def checksums(folder: Path = EVENTS) -> dict[str, str]:
    """By fixture name, as SHA256SUMS states them (`sha256sum -c SHA256SUMS` checks the same)."""
    file = folder / "SHA256SUMS"
    lines = file.read_text().splitlines() if file.exists() else []
    return {path.removesuffix(".json"): digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def digest_of(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def freeze(folder: Path = EVENTS, values: Mapping[str, AnyEvent] = VALUES) -> tuple[str, ...]:
    """Adds what is missing, and nothing else. The names of the new fixtures."""
    known = checksums(folder)
    added = tuple(name for name in values if name not in known and not path_of(name, folder).exists())
    for name in added:
        path = path_of(name, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        octets = encode(values[name], META)
        path.write_bytes(octets)
        known[name] = digest_of(octets)
    if added:
        lines = (f"{digest}  {name}.json\n" for name, digest in sorted(known.items()))
        (folder / "SHA256SUMS").write_text("".join(lines))
    return added
