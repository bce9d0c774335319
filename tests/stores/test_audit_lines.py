"""A line of COPY says the same as the row of the event, whatever the event holds."""

import json
import re
from datetime import datetime
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import given

from events.base import Position, StreamName
from events.codec import Recorded
from events.union import UnknownEvent
from projections.audit import audit_row
from projections.stores.audit_lines import COLUMNS, copied
from projections.stores.audit_sql import Pairs, pairs_of
from tests.events.strategies import events, metas

_UNESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
unknown = st.builds(lambda text: UnknownEvent("New.v9", json.dumps({"model_id": text, "text": text})), st.text())
streams = st.builds(StreamName, st.text(min_size=1), st.text(min_size=1) | st.just("x" * 600))


def field(text: str) -> str | None:
    """As PostgreSQL reads a field of COPY's text form."""
    return None if text == "\\N" else re.sub(r"\\.", lambda found: _UNESCAPED[found[0]], text)


def row_in(line: str) -> dict[str, Any]:
    said: dict[str, Any] = dict(zip(COLUMNS, map(field, line.split("\t")), strict=True))
    members = re.findall(r'"((?:[^"\\]|\\.)*)"(?:,|\}$)', said["entities"].removeprefix("{"), re.DOTALL)
    said["entities"] = tuple(re.sub(r"\\(.)", r"\1", each, flags=re.DOTALL) for each in members)
    return said | {
        "position": int(said["position"]),
        "at": datetime.fromisoformat(said["at"]),
        "body": json.loads(said["body"]),
    }


@given(st.lists(st.builds(Recorded, st.integers(1, 10**12).map(Position), streams, events | unknown, metas)))
def test_a_line_says_what_the_row_says(recorded: list[Recorded]) -> None:
    pairs: Pairs = {}
    lines = copied(recorded, pairs).decode().split("\n")
    assert lines.pop() == ""
    rows = [audit_row(each) for each in recorded]
    assert [row_in(line) for line in lines] == list(map(msgspec.structs.asdict, rows))
    assert pairs == pairs_of(rows)
