"""Rows of the audit trail into a file: NDJSON with nothing but the standard library, Parquet with pyarrow.

pyarrow is larger than all the rest of the plane together, so it is no requirement of it: who wants Parquet installs
`requirements/parquet.txt`.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from events.base import Position
from projections.audit import AuditQuery, AuditRow
from projections.stores.audit import AuditStore

PAGE = 5000


class PyarrowMissing(Exception):
    """Parquet was asked for, and pyarrow is not installed."""


class Sink(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, rows: tuple[AuditRow, ...]) -> None: ...


async def exported(store: AuditStore, query: AuditQuery, sink: Sink) -> int:
    """How many rows were written. `query.limit` is the size of a page. Raises AuditUnavailable."""
    count = 0
    while rows := await store.page(query):
        sink.write(rows)
        count += len(rows)
        query = msgspec.structs.replace(query, after=Position(rows[-1].position))
    return count


class NdjsonFile:
    def __init__(self, file: Path) -> None:
        self._file = file.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, rows: tuple[AuditRow, ...]) -> None:
        self._file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


class ParquetFile:
    """One row group a page; `body` is JSON text. Raises PyarrowMissing."""

    def __init__(self, file: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise PyarrowMissing(
                "Parquet needs pyarrow, which is not installed:"
                " .venv/bin/uv pip install --require-hashes -r requirements/parquet.txt"
            ) from None
        text = pyarrow.string()
        self._arrow: Any = pyarrow
        self._schema = pyarrow.schema(
            [
                ("position", pyarrow.int64()),
                ("at", pyarrow.timestamp("us", tz="UTC")),
                *((name, text) for name in ("type", "category", "entity")),
                ("entities", pyarrow.list_(text)),
                *((name, text) for name in AuditRow.__struct_fields__[6:]),
            ]
        )
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, rows: tuple[AuditRow, ...]) -> None:
        columns = {name: [getattr(row, name) for row in rows] for name in AuditRow.__struct_fields__[:-1]}
        columns["body"] = [msgspec.json.encode(row.body).decode() for row in rows]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
