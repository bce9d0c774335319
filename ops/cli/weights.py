"""Commands about weights: what the blob store holds, for whom, whether every byte is right, and clearing it.

They look into the store themselves, so they run where the plane's settings are.
"""

import time
from secrets import token_hex
from typing import Annotated

import typer

from agents.effects.folders import locked
from agents.weights.manifest import MANIFESTS, BadManifest, Manifest
from agents.weights.store import Bad, Garbage, clear, garbage_of, manifest_of, parts, verify
from events.base import CommandId, CorrelationId
from events.log import Log
from events.weights import ManifestId
from handlers.deciders.weights import DiscardWeights
from handlers.dispatch import Dispatch
from ops import render
from ops.cli.failures import Failure
from ops.cli.options import Format, Output, session_of
from ops.cli.pointers import links
from ops.cli.prefetch import prefetch, prefetches
from ops.cli.stored import Which, manifest_named, named, store_of, weights_and_names, weights_now, with_store
from ops.operator_key import OPERATOR
from projections.stores.objects import Objects, StoreUnavailable

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
    """Which deployment mounts what, from where, and how large it is."""
    session = session_of(context)
    state, names = session.with_log(weights_and_names)
    found = [
        {
            "deployment": names.of.get(deployment_id, deployment_id),
            "mount_location": mount.mount_location,
            "source": known.source if known else "",
            "revision": known.revision if known else "",
            "files": known.files if known else 0,
            "bytes": known.bytes if known else 0,
            "manifest": mount.manifest_id,
        }
        for deployment_id, mounts in state.mounts.items()
        for mount in mounts
        for known in [state.mirrored.get(mount.manifest_id)]
    ]
    if output is Format.json:
        render.as_json(session.out, found)
        return
    rows = (
        (
            str(each["deployment"]),
            str(each["mount_location"]),
            str(each["source"]),
            str(each["revision"])[:12],
            f"{each['files']:,}",
            f"{each['bytes']:,}",
            str(each["manifest"])[:12],
        )
        for each in found
    )
    columns = ("deployment", "mounted at", "source", "revision", "files", "bytes", "manifest")
    render.table(session.out, columns, rows, "no deployment mounts weights")


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
) -> None:
    """Read every byte in the blob store that is needed, and say what is missing or wrong."""
    session = session_of(context)
    state = session.with_log(weights_now)
    chosen = sorted(state.needed()) if manifest is None else [named(state, manifest)]

    async def read(objects: Objects) -> list[Bad]:
        return [bad async for bad in verify(objects, chosen)]

    bad = with_store(session, read)
    for each in bad:
        session.out.print(f"{each.manifest_id[:12]} chunk {each.chunk or '-'}: {each.why}", soft_wrap=True)
    if bad:
        raise Failure(
            f"{len(bad)} parts are not what they must be",
            "remove them from the store and push the deployments again: what is missing is mirrored anew",
        )
    session.out.print(f"{len(chosen)} manifests: every byte is what it must be")


def collect(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    older_than_h: Annotated[
        float, typer.Option("--older-than", min=0, help="Hours. What is younger stays: a build may be about to use it.")
    ] = 24.0,
) -> None:
    """Remove from the blob store what no deployment that is not deleted, and no build under way, needs."""
    session = session_of(context)

    async def look(objects: Objects, log: Log) -> tuple[Garbage, int]:
        needed = (await weights_now(log)).needed()
        return await garbage_of(objects, needed, time.time() - older_than_h * 3600), len(needed)

    async def dry(log: Log) -> Garbage:
        async with store_of(session) as objects:
            return (await look(objects, log))[0]

    async def clearing(log: Log, dispatch: Dispatch) -> Garbage:
        # No mirror on this machine takes up what is being removed.
        async with locked(session.settings.folder("run") / "weights" / "gc.lock"), store_of(session) as objects:
            garbage, needed = await look(objects, log)
            for part in parts(garbage):  # Said before it is done: who is interrupted leaves nothing that went unsaid.
                await dispatch(_discard(part, older_than_h, needed))
                await clear(objects, part)
            return garbage

    try:
        gone = session.with_log(dry) if dry_run else session.with_dispatch(clearing)
    except BadManifest as error:
        raise Failure(f"nothing was removed: {error}", "run `causeway weights verify`") from error
    except StoreUnavailable as error:
        raise Failure(str(error), "look after the blob store, then try again") from error
    what = "would be" if dry_run else "were"
    session.out.print(
        f"{len(gone.manifests)} manifests, {len(gone.chunks):,} chunks, {gone.bytes:,} bytes {what} removed; "
        f"{gone.kept_chunks:,} chunks are needed"
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
