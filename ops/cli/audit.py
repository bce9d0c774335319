"""Commands of the audit trail: ask it, export it, make it anew, let somebody read it."""

import time
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote, urlsplit, urlunsplit

import typer

from events.log import Log
from ops import render
from ops.cli.failures import FAILED, Failure
from ops.cli.history import (
    After,
    Before,
    ByActor,
    Correlation,
    Entity,
    Limit,
    Since,
    Types,
    Until,
    query_of,
    with_entity_resolved,
)
from ops.cli.options import Format, Output, session_of
from ops.cli.session import Session, running
from projections.audit import AuditQuery, AuditRow, RefusedRow
from projections.describe import describe_body
from projections.stores.audit import AuditStore
from projections.stores.audit_exports import FORMS, Form, asked, pages
from projections.stores.audit_rebuild import Rebuilt
from projections.stores.audit_rebuild import rebuild as rebuilt

PAGE = 5000
EVERYTHING = 1 << 62
Refused = Annotated[
    bool,
    typer.Option(
        "--refused", help="Commands that were refused, and why; `--type` names commands, positions are their numbers."
    ),
]
app = typer.Typer(invoke_without_command=True)


def register(commands: typer.Typer) -> None:
    app.callback()(audit)
    for command in (export, rebuild, reader):
        app.command()(command)
    commands.add_typer(app, name="audit")


def audit(
    context: typer.Context,
    types: Types = None,
    entity: Entity = None,
    actor: ByActor = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    after: After = None,
    before: Before = None,
    limit: Limit = 50,
    refused: Refused = False,
    output: Output = Format.table,
) -> None:
    """Who did what and when, from the audit trail in PostgreSQL. Filters as in `events`. JSON is one object a line."""
    if context.invoked_subcommand is not None:
        return
    session = session_of(context)
    filters = (session, types, entity, actor, correlation, since, until)
    query = query_of(*filters, after=after, before=before, limit=limit, commands=refused)
    rows = _asked(session, query, refused)
    if output is Format.json:
        for row in rows:
            render.as_json(session.out, row)
    elif refused:
        _refused_table(session, rows)
    else:
        _table(session, rows)


def _asked(session: Session, query: AuditQuery, refused: bool) -> tuple[Any, ...]:
    rows = session.with_audit(lambda store: asked(store, query, refused))
    if not rows and query.entity is not None:
        query = session.with_log(lambda log: with_entity_resolved(log, query))
        rows = session.with_audit(lambda store: asked(store, query, refused))
    return rows


def _table(session: Session, rows: tuple[AuditRow, ...]) -> None:
    render.table(
        session.out,
        ("position", "time (UTC)", "actor", "how", "event", "entity", "what"),
        (
            (
                str(row.position),
                render.clock(row.at),
                row.actor,
                row.actor_how,
                row.type,
                f"{row.category} {row.entity}",
                describe_body(row.body),
            )
            for row in rows
        ),
        "no event matches",
    )


def _refused_table(session: Session, rows: tuple[RefusedRow, ...]) -> None:
    render.table(
        session.out,
        ("number", "time (UTC)", "actor", "how", "command", "about", "refused"),
        (
            (
                str(row.number),
                render.clock(row.at),
                row.actor,
                row.actor_how,
                row.command,
                f"{row.category} {row.entity}",
                f"{row.kind}: {row.reason}",
            )
            for row in rows
        ),
        "no refused command matches",
    )


def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .ndjson or .parquet. It must not exist yet.")],
    types: Types = None,
    entity: Entity = None,
    actor: ByActor = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    after: After = None,
    before: Before = None,
    refused: Refused = False,
) -> None:
    """All matching rows into a file, in the order of positions: NDJSON, or Parquet for columnar tools."""
    session = session_of(context)
    made = FORMS.get(file.suffix[1:])
    if made is None:
        raise Failure(f"{file}: the name says in what form", f"end it in {' or '.join(f'.{name}' for name in FORMS)}")
    if file.exists():
        raise Failure(f"{file} exists already", "name another file, or remove it")
    filters = (session, types, entity, actor, correlation, since, until)
    query = query_of(*filters, after=after or 0, before=before, limit=EVERYTHING, commands=refused)
    if entity is not None:
        query = session.with_log(lambda log: with_entity_resolved(log, query))
    form = made(RefusedRow if refused else AuditRow)
    try:
        out = file.open("xb")
    except OSError as error:
        why = f"{file} cannot be written: {error.strerror}"
        raise Failure(why, "name a file in a folder that is there and that you may write to") from error
    try:
        with out:
            rows = session.with_audit(lambda store: _written(store, query, refused, form, out))
    except BaseException:
        file.unlink(missing_ok=True)  # half a file looks like a whole one
        raise
    session.out.print(f"{rows} rows in {file}", soft_wrap=True)


async def _written(store: AuditStore, query: AuditQuery, refused: bool, form: Form, out: BinaryIO) -> int:
    count = 0
    async for rows in pages(store, query, refused, PAGE):
        out.write(form.part(rows))
        count += len(rows)
    out.write(form.end())
    return count


def rebuild(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Only compare; the live trail stays as it is.")] = False,
    output: Output = Format.table,
) -> None:
    """Make the trail anew from the log, beside the live one; compare the two; put the new one in its place.

    Readers and the follower go on meanwhile. With --check, exits with 1 when the live trail differs from the log.
    """
    session = session_of(context)
    began = last = time.monotonic()

    def tell(step: str, rows: int) -> None:
        nonlocal last
        if step != "rows" or time.monotonic() - last > 2.0:
            last = time.monotonic()
            session.err.print(f"# {step}: {rows} rows after {last - began:.1f} s", style="dim")

    async def make(log: Log) -> Rebuilt:
        async with session.open_audit(session.settings) as store:
            return await rebuilt(log, store, switch=not check, tell=tell)

    done = session.with_log(make)
    spent_s = time.monotonic() - began
    if output is Format.json:
        render.as_json(session.out, {"rebuilt": done, "seconds": round(spent_s, 3)})
    else:
        session.out.print(_verdict(done, spent_s), soft_wrap=True)
    if check and done.compared.differences:
        raise typer.Exit(FAILED)


def _verdict(done: Rebuilt, spent_s: float) -> str:
    found = done.compared
    same = f"the live trail was the same up to position {found.until}"
    differed = (
        f"the live trail differed at {found.differences} positions up to {found.until}, first at {found.first}:"
        f" {found.lacking} lacked, {found.extra} were in no log, {found.other} said something else"
    )
    end = "the rebuilt one is live" if done.switched else "nothing was changed"
    return f"{done.rows} rows from the log in {spent_s:.1f} s; {differed if found.differences else same}; {end}"


def reader(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the PostgreSQL role.")] = "causeway_reader",
) -> None:
    """A PostgreSQL login that can read the trail's views and nothing else. Its new password is printed, this once."""
    session = session_of(context)
    password = token_urlsafe(24)

    async def make(store: AuditStore) -> None:
        from projections.stores.postgres import PostgresAuditStore

        if not isinstance(store, PostgresAuditStore):
            raise Failure("only PostgreSQL has logins", "set CAUSEWAY_POSTGRES_URL")
        await store.make_reader(name, password)

    session.with_audit(make)
    session.out.print(f"role {name}, password {password}", soft_wrap=True)
    session.out.print("it reads the views of the schema causeway: ops/docs/audit.md names them", soft_wrap=True)
    url = session.settings.postgres_url or running(session.settings).postgres_url
    if url is not None:
        session.out.print(f"connect: psql '{address_for(url, name)}'", soft_wrap=True)


def address_for(url: str, name: str) -> str:
    """The same database for another login, whose password is asked for."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{quote(name, safe='')}@{parts.netloc.rpartition('@')[2]}"))
