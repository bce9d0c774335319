"""`make schema`: the shape of every message of the log as JSON Schema, generated from the event types.

`events/schema.json` is for readers outside: a consumer in another language, a reviewer of a change. It is never
edited; `--check` (part of `make check`) refuses a tree in which it lags behind the types.
"""

import sys
from difflib import unified_diff
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from events.base import Metadata
from events.union import AnyEvent
from ops.config import CHECKOUT

FILE = CHECKOUT / "events" / "schema.json"
SHOWN_LINES = 40


def schema() -> str:
    """The whole document, in one fixed order."""
    (event, meta), shapes = msgspec.json.schema_components((AnyEvent, Metadata), ref_template="#/$defs/{name}")
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A message of the Causeway log",
        "type": "object",
        "properties": {"event": event, "meta": meta},
        "required": ["event", "meta"],
        "$defs": dict(sorted(shapes.items())),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def main(arguments: list[str], file: Path = FILE) -> int:
    """Writes the file; with `--check` only compares it. The exit status."""
    wanted = schema()
    found = file.read_text() if file.exists() else ""
    if "--check" not in arguments:
        file.write_text(wanted)
        return 0
    if found == wanted:
        return 0
    changes = unified_diff(found.splitlines(), wanted.splitlines(), file.name, "the event types", lineterm="", n=1)
    print("\n".join(islice(changes, SHOWN_LINES)))
    print(f"{file} lags behind the event types; look at the change above, then run `make schema`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
