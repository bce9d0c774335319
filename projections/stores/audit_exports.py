"""Rows of the audit trail as the bytes of a file, a page at a time: NDJSON, or Parquet by pyarrow.

pyarrow is larger than all the rest of the plane together, so it is no requirement of it: who wants Parquet installs
`requirements/parquet.txt`.
"""

import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, get_type_hints

import msgspec

from events.base import Position
from projections.audit import AuditQuery, AuditRow, RefusedRow
from projections.stores.audit import AuditStore

Row = AuditRow | RefusedRow


class PyarrowMissing(Exception):
    """Parquet was asked for, and pyarrow is not installed."""


class Form(Protocol):
    """Rows are all of the kind that it was made for."""

    def part(self, rows: Sequence[Row]) -> bytes: ...

    def end(self) -> bytes:
        """What comes behind the last rows."""
        ...


class Ndjson:
    def __init__(self, kind: type[Row]) -> None:
        pass

    def part(self, rows: Sequence[Row]) -> bytes:
        return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)

    def end(self) -> bytes:
        return b""


class Parquet:
    """One row group a part; `body` is JSON text. Raises PyarrowMissing."""

    def __init__(self, kind: type[Row]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise PyarrowMissing(
                "Parquet needs pyarrow, which is not installed:"
                " .venv/bin/uv pip install --require-hashes -r requirements/parquet.txt"
            ) from None
        columns = {
            int: pyarrow.int64(),
            datetime: pyarrow.timestamp("us", tz="UTC"),
            tuple[str, ...]: pyarrow.list_(pyarrow.string()),
        }
        hints = get_type_hints(kind)
        kinds = {name: getattr(hints[name], "__supertype__", hints[name]) for name in kind.__struct_fields__}
        self._arrow: Any = pyarrow
        self._schema = pyarrow.schema([(name, columns.get(each, pyarrow.string())) for name, each in kinds.items()])
        self._written = io.BytesIO()
        self._writer = pyarrow.parquet.ParquetWriter(self._written, self._schema, compression="zstd")

    def part(self, rows: Sequence[Row]) -> bytes:
        columns = {name: [getattr(row, name) for row in rows] for name in self._schema.names}
        columns["body"] = [msgspec.json.encode(row.body).decode() for row in rows]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        return self._taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        """What was written since it was asked last: a file of any length takes the memory of one part."""
        taken = self._written.getvalue()
        self._written.seek(0)
        self._written.truncate()
        return taken


FORMS: dict[str, Callable[[type[Row]], Form]] = {"ndjson": Ndjson, "parquet": Parquet}


async def asked(store: AuditStore, query: AuditQuery, refused: bool) -> tuple[Row, ...]:
    """One page. Raises AuditUnavailable."""
    return await (store.page_refused(query) if refused else store.page(query))


def place(row: Row) -> Position:
    """By which pages follow each other."""
    return row.position if isinstance(row, AuditRow) else Position(row.number)


async def pages(store: AuditStore, query: AuditQuery, refused: bool, page: int) -> AsyncIterator[tuple[Row, ...]]:
    """All that matches, up to the query's limit, in pieces. Raises AuditUnavailable."""
    left = query.limit
    while left > 0:
        size = min(left, page)
        rows = await asked(store, msgspec.structs.replace(query, limit=size), refused)
        if rows:
            yield rows
        left -= len(rows)
        if query.newest or len(rows) < size:
            return
        query = msgspec.structs.replace(query, after=place(rows[-1]))
