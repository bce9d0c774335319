"""Commands about the log itself: is it what it was, and how to bring it back."""

from typing import Annotated

import msgspec
import typer

from events.log.jetstream_raw import JetStreamRaw
from ops import integrity, render
from ops.cli.failures import FAILED
from ops.cli.options import Format, Output, session_of
from ops.cli.session import Session, run
from ops.config import Settings
from ops.integrity import Mark, Verified
from ops.local import attach
from ops.local.files import read_or_none
from ops.restore import Restored, server_of
from ops.restore import restore as restored
from ops.wiring.archive import open_archive
from projections.stores.whole import write_whole

MARK = "log-verified"
"""In the run folder: how far the log was found good."""
app = typer.Typer(no_args_is_help=True, help="The log itself: check it against its seals, restore it from its archive.")
Archive = Annotated[
    str | None,
    typer.Option("--archive", metavar="FOLDER|s3://…", help="Default: the plane's own, CAUSEWAY_ARCHIVE_STORE."),
]


def register(commands: typer.Typer) -> None:
    for command in (verify, restore):
        app.command()(command)
    commands.add_typer(app, name="log")


def verify(
    context: typer.Context,
    since_last: Annotated[
        bool, typer.Option("--since-last", help="Only what came after the last seal that was found good.")
    ] = False,
    archive: Archive = None,
    output: Output = Format.table,
) -> None:
    """Check every event against the seals, and the archive too; name what was changed, cannot be read or is missing.

    Works with the stack up or down. Exits with 1 when anything is wrong.
    """
    session = session_of(context)
    file = session.settings.folder("run") / MARK
    known = read_or_none(file) if since_last else None
    mark = None if known is None else msgspec.json.decode(known, type=Mark)

    async def ask() -> Verified:
        async with open_archive(session.settings, archive) as kept, server_of(_where(session)) as url:
            return await integrity.verify(JetStreamRaw(url), kept, mark, is_copy=archive is not None)

    found = run(ask())
    if not found.problems:
        write_whole(file, msgspec.json.encode(Mark(found.sealed, found.sealed_hash)))
    if output is Format.json:
        render.as_json(session.out, found)
    else:
        _tell(session, found)
    if found.problems:
        raise typer.Exit(FAILED)


def _tell(session: Session, found: Verified) -> None:
    for problem in found.problems:
        session.out.print(str(problem), style="red", soft_wrap=True)
    count = len(found.problems)
    verdict = f"{count} problem{'s' if count > 1 else ''}" if count else "good"
    session.out.print(
        f"{verdict}: positions {found.after + 1} to {found.head}, {found.seals} seals, sealed up to {found.sealed},"
        f" archived up to {found.archived}",
        soft_wrap=True,
    )
    if any(problem.archive for problem in found.problems):
        session.err.print("fix: bring the files of the archive that are named back from a copy", soft_wrap=True)
    if not all(problem.archive for problem in found.problems):
        session.err.print("fix: `causeway down`, then `causeway log restore`", soft_wrap=True)


def restore(
    context: typer.Context,
    archive: Archive = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on though events are known that are in neither archive nor log.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Write the log anew from its archive, every event in its old position. The stack must be down.

    The damaged stream is moved aside, not removed. What it still has behind the archive's end is kept.
    """
    session = session_of(context)

    async def ask() -> Restored:
        async with open_archive(session.settings, archive) as kept:
            return await restored(
                session.settings,
                kept,
                session.now(),
                accept_loss=accept_loss,
                tell=lambda line: session.err.print(f"# {line}", soft_wrap=True),
            )

    done = run(ask())
    if output is Format.json:
        render.as_json(session.out, {**msgspec.structs.asdict(done), "aside": done.aside and str(done.aside)})
        return
    moved = f"; the damaged stream lies in {done.aside}" if done.aside else ""
    lost = f"; {done.lost} events are lost" if done.lost else ""
    session.out.print(f"the log is back up to position {done.head}{lost}{moved}", soft_wrap=True)


def _where(session: Session) -> Settings:
    """The running stack's, else as configured: a stack whose log is broken does not come up."""
    settings = session.settings
    if settings.nats_url is None and attach.status(settings) is not None:
        return attach.attached(settings)
    return settings
