"""The node agent's hands: what it can be asked to do, and what comes back.

An effect is data, performed once; its result is the next stimulus. `runtime.py` does it on this machine, `fake.py` is
its scripted twin. What can go wrong in the world comes back as `EffectFailed`; an exception is a programmer's error.
"""

from datetime import datetime
from typing import Literal, Protocol

import msgspec

from events.base import DeploymentId, ReplicaId
from events.weights import ManifestId
from projections.replica_targets import ReplicaTarget


class HealthChecks(msgspec.Struct, frozen=True):
    """A model's own patience, from its config; None: the node's."""

    startup_s: float | None = None
    stop_traffic_s: float | None = None
    restart_s: float | None = None


class PrepareReplica(msgspec.Struct, frozen=True, tag=True):
    """Bundle unpacked into the replica's folder, Python environment on this machine."""

    target: ReplicaTarget

    @property
    def replica_id(self) -> ReplicaId:
        return self.target.replica_id


class FetchWeights(msgspec.Struct, frozen=True, tag=True):
    """All files that its target mounts on this machine, checked, in a folder of the replica's own."""

    target: ReplicaTarget

    @property
    def replica_id(self) -> ReplicaId:
        return self.target.replica_id


class StartReplica(msgspec.Struct, frozen=True, tag=True):
    target: ReplicaTarget

    @property
    def replica_id(self) -> ReplicaId:
        return self.target.replica_id


class PatchReplica(msgspec.Struct, frozen=True, tag=True):
    """Gives a development deployment's replica all of the chain that the target wants and it does not have."""

    target: ReplicaTarget

    @property
    def replica_id(self) -> ReplicaId:
        return self.target.replica_id


class AwaitExit(msgspec.Struct, frozen=True, tag=True):
    replica_id: ReplicaId


class ProbeReplica(msgspec.Struct, frozen=True, tag=True):
    replica_id: ReplicaId


class DrainReplica(msgspec.Struct, frozen=True, tag=True):
    """After `grace_s`, for those who still see it in an older view: take no more, end what runs, exit."""

    replica_id: ReplicaId
    grace_s: float
    reason: str


class StopReplica(msgspec.Struct, frozen=True, tag=True):
    """Ends all of its processes now."""

    replica_id: ReplicaId
    reason: str


class ForgetReplica(msgspec.Struct, frozen=True, tag=True):
    """Removes all that is on this machine of a replica that does not run."""

    replica_id: ReplicaId
    deployment_id: DeploymentId


Effect = (
    PrepareReplica
    | FetchWeights
    | StartReplica
    | PatchReplica
    | AwaitExit
    | ProbeReplica
    | DrainReplica
    | StopReplica
    | ForgetReplica
)


class Prepared(msgspec.Struct, frozen=True, tag=True):
    seconds: float
    reused: bool
    """The environment was already on this machine."""
    health_checks: HealthChecks = HealthChecks()


class Mounted(msgspec.Struct, frozen=True):
    """A folder of this machine, and where the replica finds it."""

    folder: str
    location: str


class WeightsHere(msgspec.Struct, frozen=True, tag=True):
    seconds: float
    node_bytes: int
    """What was on this machine."""
    peer_bytes: int
    mirror_bytes: int
    mounted: tuple[Mounted, ...] = ()


class WeightsLack(msgspec.Struct, frozen=True, tag=True):
    """They cannot be had now."""

    lack: str
    """room, mirror, corrupt: trying again helps when that has ended; missing: nothing helps."""
    reason: str


class Running(msgspec.Struct, frozen=True, tag=True):
    pid: int
    address: str
    """`host:port`."""
    started_at: datetime


class Patched(msgspec.Struct, frozen=True, tag=True):
    """How a sync of the patch chain ended."""

    number: int
    attempt: int
    restarted: bool = False
    seconds: float = 0.0
    failure: str | None = None
    needs_push: bool = False


class Exited(msgspec.Struct, frozen=True, tag=True):
    exit_code: int | None
    """128 + n: ended by signal n. None: nobody saw."""
    reason: str
    """Why, in the words of the model server where it said something."""
    asked: bool = False
    """Somebody else than this agent asked for it: the stack was shut down."""
    port_taken: bool = False
    """It never began: somebody else was quicker to take its port."""


class Probed(msgspec.Struct, frozen=True, tag=True):
    health: Literal["ready", "unready", "silent"]
    """Silent: it does not answer at all."""
    detail: str = ""
    output_bytes: int = 0
    """What it has printed so far, while it loads: more than before is progress."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """Drain, stop, forget: there is nothing to tell."""


class EffectFailed(msgspec.Struct, frozen=True, tag=True):
    reason: str
    again: bool = False
    """Trying again may help."""


Result = Prepared | WeightsHere | WeightsLack | Running | Patched | Exited | Probed | Done | EffectFailed


class Found(msgspec.Struct, frozen=True):
    """What an earlier agent left of a replica that had been started."""

    replica_id: ReplicaId
    deployment_id: DeploymentId
    prepared: Prepared
    process: Running
    was_ready: bool
    patched: Patched | None = None
    weights: WeightsHere | None = None


class Effects(Protocol):
    async def survey(self) -> tuple[Found, ...]:
        """Called once, before anything is performed. Replicas that had not been started are cleared away."""
        ...

    async def perform(self, effect: Effect) -> Result:
        """Cancelling gives up waiting; it stops no replica."""
        ...

    async def prefetch(self, manifest_id: ManifestId) -> WeightsHere | WeightsLack:
        """These weights into the cache of this machine. What was got before a cancellation stays."""
        ...
