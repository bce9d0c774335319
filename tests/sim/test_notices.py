"""The simulator notices what it is there for: each test breaks one thing on purpose and expects a seed to fail.

A checker that can no longer fail would go unseen otherwise. Our own functions are replaced here, and only here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

import agents.reconcile
import gateway.dataplane.plane as plane
import handlers.deciders.environment as environment
import handlers.load_window as load_window
import handlers.reactors.detect_lost as detect_lost
import handlers.reactors.place_replicas as place_replicas
import handlers.reactors.promote as promote
import projections.routing as routing
from agents.effects import StopReplica
from agents.reconcile import DueDeed
from events.replica import ReplicaDraining
from gateway.addresses import Target
from gateway.choose import Aim, aim_of
from handlers.base import NOW, Due
from handlers.deciders.scaling import HoldReplicas
from tests.sim.run import run_seed
from tests.sim.watched import WatchedLog

pytestmark = pytest.mark.sim
Patch = pytest.MonkeyPatch
SEEDS = range(40)


def unguarded_appends(patch: Patch) -> None:
    """No expected position: the later of two decisions wins."""
    guarded = WatchedLog.append

    async def append(self: WatchedLog, stream: Any, drafts: Any, expected: Any) -> Any:
        return await guarded(self, stream, drafts, self._last.get(stream, 0))  # type: ignore[arg-type]

    patch.setattr(WatchedLog, "append", append)


def routing_that_ignores_draining(patch: Patch) -> None:
    patch.setitem(routing._STEPS, ReplicaDraining, lambda table, event: None)


def placement_that_ignores_capacity(patch: Patch) -> None:
    patch.setattr(
        place_replicas, "_roomiest", lambda want, rooms: max(rooms, key=lambda r: r.memory_bytes, default=None)
    )
    patch.setattr(place_replicas, "_relieve", lambda state, node: ())


def promotions_that_hold_nothing(patch: Patch) -> None:
    steps = promote._advance

    def advance(*given: Any) -> Iterable[Due]:
        return [due for due in steps(*given) if not isinstance(due.command, HoldReplicas)]

    patch.setattr(promote, "_advance", advance)


def two_promotions_at_once(patch: Patch) -> None:
    place_of = environment.place_of
    patch.setattr(environment, "place_of", lambda state: place_of(msgspec.structs.replace(state, promotion=None)))


def switches_to_what_is_not_ready(patch: Patch) -> None:
    patch.setattr(promote, "complete", lambda progress, ready, needed_now: True)


def requests_that_wake_nothing(patch: Patch) -> None:
    patch.setattr(load_window.LoadWindow, "parked", lambda window: 0)


def lost_nodes_whose_replicas_stay(patch: Patch) -> None:
    patch.setattr(detect_lost, "_orphans", lambda state, node_id: [])


def drains_that_cut_calls(patch: Patch) -> None:
    def drain(replica: Any, reason: str, patience: Any) -> Iterable[DueDeed]:
        return (DueDeed(NOW, StopReplica(replica.replica_id, reason)),)

    patch.setattr(agents.reconcile, "_drain", drain)


def choice_by_an_old_table(patch: Patch) -> None:
    """A worker that remembers which deployment each target was the first time."""
    known: dict[Any, Target] = {}

    def remembered(table: Any, target: Target) -> Any:
        aim = aim_of(table, known.get((id(table), target), target))
        if isinstance(aim, Aim):
            known.setdefault((id(table), target), Target(target.model_id, "deployment", aim.current.deployment_id))
        return aim

    patch.setattr(plane, "aim_of", remembered)


@pytest.mark.parametrize(
    "broken",
    [
        unguarded_appends,
        routing_that_ignores_draining,
        placement_that_ignores_capacity,
        promotions_that_hold_nothing,
        two_promotions_at_once,
        switches_to_what_is_not_ready,
        requests_that_wake_nothing,
        lost_nodes_whose_replicas_stay,
        drains_that_cut_calls,
        choice_by_an_old_table,
    ],
    ids=lambda broken: str(broken.__name__),
)
def test_the_simulator_notices(broken: Callable[[Patch], None], monkeypatch: Patch) -> None:
    broken(monkeypatch)
    for seed in SEEDS:
        result = run_seed(seed)
        if result.failure:
            print(f"seed {seed}: {result.failure[:300]}")
            return
    raise AssertionError(f"{len(SEEDS)} seeds did not notice {broken.__name__}")
