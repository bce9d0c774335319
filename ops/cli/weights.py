"""Commands about weights: what the blob store holds, for whom, whether every byte is right, and clearing it.

They look into the store themselves, so they run where the plane's settings are.
"""

import asyncio
import time
from collections.abc import Iterator
from secrets import token_hex
from typing import Annotated, Any

import typer

from agents.weights.holds import clearing
from agents.weights.manifest import MANIFESTS, PLANES, BadManifest, Manifest
from agents.weights.mirror import forget_journals
from agents.weights.store import Bad, Garbage, clear, garbage_of, manifest_of, other_planes, parts, verify
from events.base import CommandId, CorrelationId, DeploymentId
from events.log import Log
from events.weights import ManifestId
from handlers.deciders.weights import DiscardWeights
from handlers.dispatch import Dispatch
from ops import render
from ops.cli.failures import Failure
from ops.cli.options import Format, Output, session_of
from ops.cli.pointers import links
from ops.cli.prefetch import prefetch, prefetches
from ops.cli.session import Session
from ops.cli.stored import Which, manifest_named, named, store_of, weights_and_names, weights_now, with_store
from ops.operator_key import OPERATOR
from ops.wiring.plane_name import plane_name
from projections.stores.objects import Objects, StoreUnavailable
from projections.weights import Pin, Weights

weights = typer.Typer(no_args_is_help=True, help="Weights: mirrored once, checked, shared between models.")


def register(app: typer.Typer) -> None:
    for name, command in (
        ("ls", every),
        ("show", show),
        ("verify", check),
        ("gc", collect),
        ("prefetch", prefetch),
        ("prefetches", prefetches),
        ("pointers", links),
    ):
        weights.command(name)(command)
    app.add_typer(weights, name="weights")


def every(context: typer.Context, output: Output = Format.table) -> None:
    """Which deployment mounts what, from where, and how large it is; what is being mirrored, or could not be."""
    session = session_of(context)
    state, names = session.with_log(weights_and_names)
    found = [{"deployment": names.of.get(of, of), **told} for of, told in _mounted(state)]
    if output is Format.json:
        render.as_json(session.out, found)
        return
    rows = (
        (
            str(each["deployment"]),
            each["mount_location"],
            each["source"],
            each["revision"][:12],
            f"{each['files']:,}",
            f"{each['bytes']:,}",
            each["manifest"][:12] if each["manifest"] else each["status"],
        )
        for each in found
    )
    columns = ("deployment", "mounted at", "source", "revision", "files", "bytes", "manifest")
    render.table(session.out, columns, rows, "no deployment mounts weights")


def _mounted(state: Weights) -> Iterator[tuple[DeploymentId, dict[str, Any]]]:
    """What each deployment has; what it asked for and has not got. A copy has what it copies, and asked for nothing."""
    for deployment_id in state.model_of:
        pins = state.pins.get(deployment_id, {})
        there = {mount.mount_location: mount.manifest_id for mount in state.mounts.get(deployment_id, ())}
        for place in there | pins:
            manifest_id, pin = there.get(place), pins.get(place)
            known = pin or (state.mirrored.get(manifest_id) if manifest_id else None)
            yield (
                deployment_id,
                {
                    "mount_location": place,
                    "source": known.source if known else "",
                    "revision": known.revision if known else "",
                    "files": known.files if known else 0,
                    "bytes": known.bytes if known else 0,
                    "manifest": manifest_id,
                    "status": "mounted" if manifest_id else _status(pin),
                    "reason": pin.failed if pin and not manifest_id else "",
                },
            )


def _status(pin: Pin | None) -> str:
    if pin is not None and pin.failed:
        return "failed"
    return "being mirrored" if pin is None or pin.manifest_id is None else "mirrored"


def show(context: typer.Context, manifest: Which, output: Output = Format.table) -> None:
    """The files of a manifest, in the order in which they are fetched."""
    session = session_of(context)
    manifest_id = manifest_named(session, manifest)

    async def read(objects: Objects) -> Manifest:
        return await manifest_of(objects, manifest_id)

    content = with_store(session, read)
    if output is Format.json:
        render.as_json(session.out, content)
        return
    session.out.print(f"manifest {manifest_id}", soft_wrap=True)
    rows = ((file.path, f"{file.size:,}", str(len(file.chunks))) for file in content.files)
    render.table(session.out, ("file", "bytes", "chunks"), rows, "no files")


def check(
    context: typer.Context,
    manifest: Annotated[str | None, typer.Argument(metavar="[MANIFEST]", help="One of them. Else all needed.")] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what is wrong: the next push of it mirrors it anew.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Read every byte in the blob store that is needed, and say what is missing or wrong."""
    session = session_of(context)
    state = session.with_log(weights_now)
    chosen = sorted(state.needed()) if manifest is None else [named(state, manifest)]

    async def read(objects: Objects) -> list[Bad]:
        bad = [each async for each in verify(objects, chosen)]
        if remove:
            for key in {each.key for each in bad}:
                await objects.remove(key)
        return bad

    bad = with_store(session, read)
    if output is Format.json:
        render.as_json(session.out, {"manifests": chosen, "wrong": bad, "removed": remove})
    for each in bad if output is Format.table else ():
        session.out.print(f"{each.manifest_id[:12]} chunk {each.chunk or '-'}: {each.why}", soft_wrap=True)
    if bad:
        known = {state.mirrored[each.manifest_id].source for each in bad if each.manifest_id in state.mirrored}
        first = "" if remove else "`--remove` removes what is wrong; then "
        raise Failure(
            f"{render.counted(len(bad), 'part')} of the store: missing or wrong" + ", removed now" * remove,
            f"{first}push again what mounts {', '.join(sorted(known))}: what is missing is mirrored anew",
        )
    if output is Format.table:
        session.out.print(f"{render.counted(len(chosen), 'manifest')}: every byte is what it must be")


def collect(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    older_than_h: Annotated[
        float, typer.Option("--older-than", min=0, help="Hours. What is younger stays: a build may be about to use it.")
    ] = 24.0,
    output: Output = Format.table,
) -> None:
    """Remove from the blob store what no deployment that is not deleted, and no build under way, needs."""
    session = session_of(context)
    before_s = time.time() - older_than_h * 3600

    async def look(objects: Objects, log: Log) -> tuple[Garbage, int]:
        await _alone(objects, log, session.settings.weights_at)
        needed = (await weights_now(log)).needed()
        return await garbage_of(objects, needed, before_s), len(needed)

    async def dry(log: Log) -> Garbage:
        async with store_of(session) as objects:
            return (await look(objects, log))[0]

    def waits(why: str) -> None:
        session.err.print(f"waits: {why} (Ctrl-C ends this) …", style="dim")

    async def clear_all(log: Log, dispatch: Dispatch) -> Garbage:
        # No mirror, on whichever machine, takes up what is being removed.
        async with store_of(session) as objects, clearing(objects, waits) as hold:
            garbage, needed = await look(objects, log)
            for part in parts(garbage):  # Said before it is done: who is interrupted leaves nothing that went unsaid.
                hold.sure()
                await dispatch(_discard(part, older_than_h, needed))
                await clear(objects, part, hold.sure)
            await asyncio.to_thread(forget_journals, session.settings.folder("run") / "weights", before_s)
            return garbage

    try:
        gone = session.with_log(dry) if dry_run else session.with_dispatch(clear_all)
    except BadManifest as error:
        raise Failure(f"nothing was removed: {error}", "run `causeway weights verify`") from error
    except StoreUnavailable as error:
        raise Failure(f"the blob store: {error}", "look after it, then try again") from error
    _show_garbage(session, output, gone, older_than_h, dry_run=dry_run)


def _show_garbage(session: Session, output: Format, gone: Garbage, older_than_h: float, *, dry_run: bool) -> None:
    if output is Format.json:
        shown = {
            "removed": not dry_run,
            "manifests": [each.key.removeprefix(MANIFESTS) for each in gone.manifests],
            "chunks": len(gone.chunks),
            "bytes": gone.bytes,
            "kept_chunks": gone.kept_chunks,
            "kept_young_manifests": gone.young,
        }
        render.as_json(session.out, shown)
        return
    what = "would be" if dry_run else "were"
    session.out.print(
        f"{render.counted(len(gone.manifests), 'manifest')}, {render.counted(len(gone.chunks), 'chunk')}, "
        f"{gone.bytes:,} bytes {what} removed; {render.counted(gone.kept_chunks, 'chunk')} kept",
        soft_wrap=True,
    )
    if gone.young:
        young = render.counted(gone.young, "manifest")
        session.out.print(f"{young} not needed, kept for being younger than {older_than_h:g} hours (--older-than)")


async def _alone(objects: Objects, log: Log, store: str) -> None:
    """What another plane needs, its log knows and ours does not. Raises Failure."""
    if others := await other_planes(objects, await plane_name(log)):
        who = f"{render.counted(len(others), 'other plane')} ({', '.join(others)})"
        raise Failure(
            f"nothing is removed: {who} keeps weights in {store}",
            f"give each plane a prefix of its own; of a plane that is no more, remove {store}/{PLANES}NAME",
        )


def _discard(part: Garbage, older_than_h: float, needed: int) -> DiscardWeights:
    command_id = token_hex(12)
    return DiscardWeights(
        id=CommandId(command_id),
        actor=OPERATOR,
        correlation_id=CorrelationId(command_id),
        manifests=tuple(ManifestId(each.key.removeprefix(MANIFESTS)) for each in part.manifests),
        chunks=len(part.chunks),
        bytes=part.bytes,
        older_than_h=older_than_h,
        needed_manifests=needed,
    )
