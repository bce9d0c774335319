"""`causeway capsule`: a stretch of history in one file, opened without a broker."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from events.log import Log
from handlers.redecide import Redecided
from ops import render, replay
from ops.capsule.export import export as make
from ops.capsule.file import Capsule, Manifest, read
from ops.capsule.redecide import by_code_in
from ops.cli.failures import USAGE, Failure
from ops.cli.options import Format, Output, moment, session_of
from ops.cli.session import Session, run
from ops.config import CHECKOUT
from ops.past import beginning_of
from projections.describe import describe_body

capsule = typer.Typer(no_args_is_help=True, help="A stretch of history in one file: to take home, to hand over.")
File = Annotated[Path, typer.Argument(metavar="FILE", help="The capsule.", dir_okay=False)]
PROMPT = "capsule> "
ENDS = ("exit", "quit")


def register(app: typer.Typer) -> None:
    for command in (export, open_, replay_):
        capsule.command(command.__name__.rstrip("_"))(command)
    app.add_typer(capsule, name="capsule")


def export(
    context: typer.Context,
    file: File,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="The state it begins with: a position or a time. Default: the beginning."),
    ] = None,
    end: Annotated[str, typer.Option("--to", help="Its last event: a position, a time, or now.")] = "now",
    output: Output = Format.table,
) -> None:
    """Write the history between two moments into one file, without secrets, and say what was taken out."""
    session = session_of(context)
    if not file.absolute().parent.is_dir():
        raise Failure(f"there is no folder {file.absolute().parent}", "make it first, or name another FILE", USAGE)
    first, last = None if begin is None else moment(session, begin), moment(session, end)

    async def ask(log: Log) -> Manifest:
        a = beginning_of(log) if begin is None else await replay.position_of(log, first)
        b = await replay.position_of(log, last)
        if a > b:
            raise Failure(f"--from {a} is after --to {b}", "give the earlier moment first", USAGE)
        return await make(log, a, b, file, session.now())

    _show(session, file, session.with_log(ask), output)


def open_(
    context: typer.Context,
    file: File,
    dashboard: Annotated[
        bool | None, typer.Option(help="Serve its pages to this machine meanwhile; at a terminal that is so by itself.")
    ] = None,
    port: Annotated[int, typer.Option(help="Of the pages; 0: a free one.", min=0, max=65535)] = 0,
    output: Output = Format.table,
) -> None:
    """Say what a capsule holds, show it as a dashboard, and take commands: `state`, `diff`, `why`, `blame`, `step` …

    The same as `causeway --capsule FILE COMMAND`, for any number of them.
    """
    session = session_of(context)
    opened = read(file)
    _show(session, file, opened.manifest, output)
    if output is Format.table:
        session.capsule = file
        with _pages(session, file, opened, port, session.keys is not None if dashboard is None else dashboard):
            root: Any = context.find_root().command
            for line in _lines(session):
                _run(root, session, line)


@contextmanager
def _pages(session: Session, file: Path, opened: Capsule, port: int, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    from ops.capsule.pages import NotServed, served  # the web framework, for this command only

    try:
        with served(file, opened, port) as url:
            session.out.print(f"  dashboard: {url} (until you leave with `exit`)", soft_wrap=True)
            yield
    except NotServed as error:
        raise Failure(str(error), "choose another with --port, or leave it out for a free one", USAGE) from error


def replay_(
    context: typer.Context,
    file: File,
    code: Annotated[
        Path, typer.Option("--with-code", metavar="FOLDER", file_okay=False, exists=True, help="The checkout to ask.")
    ] = CHECKOUT,
    output: Output = Format.table,
) -> None:
    """Decide the whole file again with the code at hand, and list every decision that would differ.

    Exit code 1 if one does: the check that a new version decides old histories the same way.
    """
    session = session_of(context)
    manifest = read(file).manifest
    found = run(by_code_in(code, file))
    if output is Format.json:
        render.as_json(session.out, found)
    else:
        _print_differences(session, manifest, found)
    if found.differences:
        raise typer.Exit(1)


def _print_differences(session: Session, manifest: Manifest, found: Redecided) -> None:
    out = session.out
    for each in found.differences:
        out.print(f"{each.position:>6}  {each.kind}: {each.stream} by {each.actor}", style="bold", soft_wrap=True)
        for mark, events in (("-", each.recorded), ("+", each.now)):
            for body in events:
                style = "red" if mark == "-" else "green"
                out.print(f"        {mark} {body['type']}  {describe_body(body)}", style=style, soft_wrap=True)
        if each.reason:
            out.print(f"        {each.reason}", soft_wrap=True)
    differences, left = len(found.differences), sum(found.not_decided.values())
    told = f"{found.alike} alike, {differences} otherwise, {left} not decided again"
    out.print(f"{found.decisions} decisions: {told}", soft_wrap=True)
    for kind, count in found.not_decided.items():
        out.print(f"  not decided again, for its command cannot be known: {kind}, {count} times", soft_wrap=True)
    if not found.reactors_asked:
        out.print(f"  reactors were not asked: they need the history before {manifest.begin} (export with --from 0)")


def _lines(session: Session) -> Iterator[str]:
    """What is typed, up to the end of it or a word that ends it."""
    while True:
        if session.keys is not None:
            session.out.print(PROMPT, end="")
        line = sys.stdin.readline()
        if not line or line.strip() in ENDS:
            return
        if line.strip():
            yield line


def _run(root: Any, session: Session, line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError as error:
        session.err.print(f"causeway: {line.strip()!r}: {error}", style="red")
        return
    try:
        root.main(words, prog_name="causeway", obj=session, standalone_mode=True)
    except SystemExit:
        return  # what went wrong has been said; the next line may be better


def _show(session: Session, file: Path, manifest: Manifest, output: Format) -> None:
    if output is Format.json:
        render.as_json(
            session.out, {"file": str(file), **{name: getattr(manifest, name) for name in manifest.__struct_fields__}}
        )
        return
    code = manifest.code
    made = f"{code.version} {code.commit[:12]}".strip() + (" with changes" if code.changed else "")
    session.out.print(f"{file}: positions {manifest.begin} to {manifest.end}, {manifest.events} events", soft_wrap=True)
    session.out.print(
        f"  {render.clock(manifest.begin_at) or 'from the beginning'} to {render.clock(manifest.end_at)} UTC"
    )
    session.out.print(f"  made {render.clock(manifest.made_at)} UTC by causeway {made}")
    for each in manifest.redactions:
        session.out.print(f"  taken out: {each.what}, {each.count} times", soft_wrap=True)
    if not manifest.redactions:
        session.out.print("  nothing had to be taken out")
