"""What commands about weights share: the blob store, and the name of a manifest."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, TypeVar

import typer

from agents.effects.objects import open_objects
from agents.weights.manifest import BadManifest
from events.log import Log
from events.weights import ManifestId
from ops.cli.failures import Failure
from ops.cli.session import Session, run
from ops.names import NAMES, Names
from ops.replay import state_at
from projections.stores.objects import Objects, StoreUnavailable
from projections.weights import WEIGHTS, Weights

T = TypeVar("T")
Which = Annotated[str, typer.Argument(metavar="MANIFEST", help="A manifest's id, or its beginning.")]


def store_of(session: Session) -> AbstractAsyncContextManager[Objects]:
    return open_objects(session.settings.weights_at, dict(session.settings.inherited_env))


def with_store(session: Session, ask: Callable[[Objects], Awaitable[T]]) -> T:
    async def asking() -> T:
        async with store_of(session) as objects:
            return await ask(objects)

    try:
        return run(asking())
    except (BadManifest, StoreUnavailable) as error:
        raise Failure(str(error), "run `causeway weights ls` for what there is") from error


def named(state: Weights, text: str) -> ManifestId:
    found = [each for each in state.mirrored if each.startswith(text)]
    if not found:
        raise Failure(f"no manifest begins with {text!r}", "`causeway weights ls` lists them")
    if len(found) > 1:
        raise Failure(f"{len(found)} manifests begin with {text!r}", "write more of it: `causeway weights ls -o json`")
    return found[0]


def manifest_named(session: Session, text: str) -> ManifestId:
    return named(session.with_log(weights_now), text)


async def weights_now(log: Log) -> Weights:
    return await state_at(log, WEIGHTS, await log.head())


async def weights_and_names(log: Log) -> tuple[Weights, Names]:
    head = await log.head()
    return await state_at(log, WEIGHTS, head), await state_at(log, NAMES, head)
