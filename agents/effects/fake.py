"""A machine that exists only in virtual time: the scripted twin of `runtime.py`, for the simulator and the tests.

It outlives its agents as a real machine does: cancel an agent's loop and give the same object to the next one.
Durations and failures come from a script, chance from the random source it is given; the clock is the event loop's.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Literal

import msgspec

from agents.effects import (
    AwaitExit,
    Done,
    DrainReplica,
    Effect,
    EffectFailed,
    Exited,
    FetchWeights,
    ForgetReplica,
    Found,
    Patched,
    PatchReplica,
    Prepared,
    PrepareReplica,
    Probed,
    ProbeReplica,
    Result,
    Running,
    StartReplica,
    StopReplica,
    WeightsHere,
    WeightsLack,
)
from events.base import ReplicaId
from events.weights import ManifestId
from handlers.clock import Clock
from projections.replica_targets import ReplicaTarget


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica behaves."""

    prepare_s: float = 1.0
    reused: bool = False
    weights_s: float = 0.5
    weights_lack: tuple[str, ...] = ()
    """Of the first tries to fetch them."""
    start_s: float = 0.1
    load_s: float = 2.0
    fails: Literal["", "environment", "start", "load"] = ""
    crashes_after_s: float | None = None
    """Since it was loaded."""
    says: str = "ValueError: scripted"
    patch_s: float = 0.5
    patch_fails: bool = False


Scripts = Callable[[ReplicaTarget, Random], Script]


class Process:
    """A model server that is not there."""

    def __init__(self, target: ReplicaTarget, script: Script, running: Running, prepared: Prepared) -> None:
        self.target, self.script, self.running, self.prepared = target, script, running, prepared
        self.loaded = self.was_ready = self.hung = self.terminated = False
        self.in_flight = 0
        begun = target.patches
        self.patched = Patched(begun.wanted, begun.attempt, restarted=True) if begun and begun.attempt else None
        self.exited: asyncio.Future[Exited] = asyncio.get_running_loop().create_future()

    def exit(self, code: int | None, reason: str) -> None:
        if not self.exited.done():
            self.exited.set_result(Exited(code, reason))

    def loads(self) -> None:
        if self.script.fails == "load":
            self.exit(0, self.script.says)
            return
        self.loaded = True
        if self.script.crashes_after_s is not None:
            asyncio.get_running_loop().call_later(self.script.crashes_after_s, self.exit, 1, self.script.says)

    def end_if_idle(self) -> None:
        if self.terminated and not self.in_flight:
            self.exit(143, "ended as asked")


class FakeEffects:
    def __init__(
        self,
        clock: Clock,
        random: Random,
        scripts: Scripts = lambda target, random: Script(),
        *,
        host: str = "10.0.0.1",
    ) -> None:
        self.starts: Counter[ReplicaId] = Counter()
        self.processes: dict[ReplicaId, Process] = {}
        self._prepared: dict[ReplicaId, Prepared] = {}
        self._weights: dict[ReplicaId, WeightsHere] = {}
        self.prefetched: Counter[ManifestId] = Counter()
        self.prefetch_s = 0.5
        self.prefetch_lack: list[str] = []
        """Of the next tries to prefetch something."""
        self._lacked: Counter[ReplicaId] = Counter()
        self._chosen: dict[ReplicaId, Script] = {}
        self._clock = clock
        self._random = random
        self._scripts = scripts
        self._host = host
        self._port = 20_000

    async def survey(self) -> tuple[Found, ...]:
        self._prepared.clear()
        return tuple(
            Found(
                replica_id,
                process.target.deployment_id,
                process.prepared,
                process.running,
                process.was_ready,
                process.patched,
                self._weights.get(replica_id),
            )
            for replica_id, process in self.processes.items()
        )

    async def perform(self, effect: Effect) -> Result:
        match effect:
            case PrepareReplica(target=target):
                return await self._prepare(target)
            case FetchWeights(target=target):
                return await self._fetch_weights(target)
            case StartReplica(target=target):
                return await self._start(target)
            case PatchReplica(target=target):
                return await self._patch(target)
            case AwaitExit(replica_id=replica_id):
                return await asyncio.shield(self.processes[replica_id].exited)
            case ProbeReplica(replica_id=replica_id):
                return await self._probe(self.processes[replica_id])
            case DrainReplica():
                await asyncio.sleep(effect.grace_s)
                process = self.processes[effect.replica_id]
                process.terminated = True
                process.end_if_idle()
            case StopReplica(replica_id=replica_id):
                self.processes[replica_id].exit(137, "killed")
            case ForgetReplica(replica_id=replica_id):
                self._prepared.pop(replica_id, None)
                self._weights.pop(replica_id, None)
                self.processes.pop(replica_id, None)
        return Done()

    async def _prepare(self, target: ReplicaTarget) -> Result:
        script = self._script_of(target)
        await asyncio.sleep(script.prepare_s)
        if script.fails == "environment":
            return EffectFailed(script.says)
        prepared = Prepared(script.prepare_s, script.reused)
        self._prepared[target.replica_id] = prepared
        return prepared

    async def _fetch_weights(self, target: ReplicaTarget) -> Result:
        script = self._script_of(target)
        await asyncio.sleep(script.weights_s)
        tries = self._lacked[target.replica_id]
        if tries < len(script.weights_lack):
            self._lacked[target.replica_id] += 1
            return WeightsLack(script.weights_lack[tries], script.says)
        here = WeightsHere(script.weights_s, 0, 0, 1 << 20)
        self._weights[target.replica_id] = here
        return here

    async def prefetch(self, manifest_id: ManifestId) -> WeightsHere | WeightsLack:
        await asyncio.sleep(self.prefetch_s)
        if self.prefetch_lack:
            lack, *self.prefetch_lack = self.prefetch_lack
            return WeightsLack(lack, "scripted")
        self.prefetched[manifest_id] += 1
        return WeightsHere(self.prefetch_s, 0, 0, 1 << 20)

    async def _start(self, target: ReplicaTarget) -> Result:
        script = self._script_of(target)
        assert not target.weights or target.replica_id in self._weights, "it must not start without its weights"
        await asyncio.sleep(script.start_s)
        if script.fails == "start":
            return EffectFailed(script.says)
        self.starts[target.replica_id] += 1
        self._port += 1
        running = Running(self._port, f"{self._host}:{self._port}", self._clock.now())
        process = Process(target, script, running, self._prepared[target.replica_id])
        self.processes[target.replica_id] = process
        asyncio.get_running_loop().call_later(script.load_s, process.loads)
        return running

    async def _patch(self, target: ReplicaTarget) -> Patched:
        process, script, patches = self.processes[target.replica_id], self._script_of(target), target.patches
        assert patches is not None, "only a development deployment's replica is patched"
        await asyncio.sleep(script.patch_s)
        failure = script.says if script.patch_fails else None
        process.patched = Patched(patches.wanted, patches.attempt, seconds=script.patch_s, failure=failure)
        return process.patched

    def _script_of(self, target: ReplicaTarget) -> Script:
        if target.replica_id not in self._chosen:
            self._chosen[target.replica_id] = self._scripts(target, self._random)
        return self._chosen[target.replica_id]

    async def _probe(self, process: Process) -> Probed:
        await asyncio.sleep(self._random.uniform(0.001, 0.01))
        if process.exited.done() or process.hung:
            return Probed("silent", "no answer")
        if not process.loaded:
            return Probed("unready", "503 Model with name model is not ready.")
        process.was_ready = True
        return Probed("ready")

    # What the world does to the machine, and what callers see of it.

    async def handle(self, address: str, seconds: float) -> None:
        """A request. Raises ConnectionRefusedError or ConnectionResetError as a real one would."""
        process = self._at(address)
        if process is None or not process.loaded or process.terminated:
            raise ConnectionRefusedError(address)
        process.in_flight += 1
        try:
            ended, _ = await asyncio.wait({process.exited}, timeout=seconds)
            if ended:
                raise ConnectionResetError(address)
        finally:
            process.in_flight -= 1
            process.end_if_idle()

    def crash(self, replica_id: ReplicaId, code: int = 139, reason: str = "segmentation fault") -> None:
        self.processes[replica_id].exit(code, reason)

    def hang(self, replica_id: ReplicaId, hung: bool = True) -> None:
        self.processes[replica_id].hung = hung

    def power_off(self) -> None:
        """All processes are gone; nobody saw how. The next agent comes with another boot id."""
        for process in self.processes.values():
            process.exit(None, "ended while no agent was watching")

    def _at(self, address: str) -> Process | None:
        running = (process for process in self.processes.values() if not process.exited.done())
        return next((process for process in running if process.running.address == address), None)
