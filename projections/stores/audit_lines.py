"""Events as lines of PostgreSQL's COPY, in bulk: what `audit_row` says of an event, without making the row.

A rebuild writes millions of them. Nearly every event consists of plain short ids, whose text needs nothing done; what
is otherwise (a tab, a quote, a NUL, a very long id, an event of a newer version) takes the way over its row. Both say
the same (tests/stores/test_audit_lines.py).
"""

from collections.abc import Iterable
from typing import get_args

import msgspec

from events.codec import Recorded
from events.union import AnyEvent, UnknownEvent
from projections.audit import ID_MAX, AuditRow, audit_row
from projections.entities import entities
from projections.stores.audit_sql import Pairs, meet

COLUMNS = (
    "position", "at", "type", "entities", "category", "entity", "actor", "actor_how",
    "correlation_id", "causation_id", "command_id", "event_id", "body",
)  # fmt: skip
"""In the order of a line's fields."""
_TYPES = {kind: str(kind.__struct_config__.tag).partition(".")[0] for kind in get_args(AnyEvent)}
_encode = msgspec.json.Encoder().encode
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_IN_ARRAY = str.maketrans({"\\": "\\\\", '"': '\\"'})


def copied(events: Iterable[Recorded], pairs: Pairs) -> bytes:
    """`pairs`: these events' are added to it."""
    return "".join([_line(each, pairs) for each in events]).encode()


def _line(recorded: Recorded, pairs: Pairs) -> str:
    event, meta, stream = recorded.event, recorded.meta, recorded.stream
    if isinstance(event, UnknownEvent):
        return _line_of(audit_row(recorded), pairs)
    actor, cause = meta.actor, meta.causation_id
    named = entities(stream, event)
    ids = f"{actor.name}{actor.how}{meta.correlation_id}{cause}{meta.command_id}{meta.id}"
    text = f"{stream.category}{''.join(named)}{ids}"
    if len(text) > ID_MAX or "\\" in text or '"' in text or not text.isprintable():
        return _line_of(audit_row(recorded), pairs)
    body = _encode(event).decode()
    if "\\" in body:
        if "\\u0000" in body:
            return _line_of(audit_row(recorded), pairs)
        body = body.replace("\\", "\\\\")
    array = '","'.join(named)
    kind = _TYPES[type(event)]
    meet(pairs, (actor.name, kind), recorded.position)
    at = _encode(meta.at).decode()[1:-1]
    return (
        f'{recorded.position}\t{at}\t{kind}\t{{"{array}"}}\t{stream.category}\t{stream.id}\t{actor.name}'
        f"\t{actor.how}\t{meta.correlation_id}\t{cause if cause is not None else _NULL}\t{meta.command_id}\t{meta.id}"
        f"\t{body}\n"
    )


_NULL = "\\N"


def _line_of(row: AuditRow, pairs: Pairs) -> str:
    meet(pairs, (row.actor, row.type), row.position)
    quoted = ",".join([f'"{each.translate(_IN_ARRAY)}"' for each in row.entities])
    body = msgspec.json.encode(row.body).decode()
    fields = {**msgspec.structs.asdict(row), "at": row.at.isoformat(), "entities": f"{{{quoted}}}", "body": body}
    texts = [_NULL if fields[name] is None else str(fields[name]).translate(_ESCAPED) for name in COLUMNS]
    return "\t".join(texts) + "\n"
