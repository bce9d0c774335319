"""A development deployment's patches form one chain, and no replica is told to have what was not asked of it."""

from events.base import DeploymentId
from events.build import BuildSucceeded
from events.codec import Recorded
from events.model import DevelopmentPatched, DevelopmentSyncRequested
from events.replica import ReplicaPatched, ReplicaPatchFailed
from tests.sim.checkers.base import Checker, Violation


class PatchesFormAChain(Checker):
    def __init__(self) -> None:
        self.built: dict[DeploymentId, str] = {}
        self.chains: dict[DeploymentId, list[str]] = {}
        self.asked: dict[DeploymentId, dict[int, int]] = {}
        """Attempt -> how much of the chain."""

    def see(self, recorded: Recorded) -> None:
        match recorded.event:
            case BuildSucceeded() as event:
                self.built[event.deployment_id] = event.truss_hash
            case DevelopmentPatched() as event:
                chain = self.chains.setdefault(event.deployment_id, [self.built[event.deployment_id]])
                if (event.number, event.from_hash) != (len(chain), chain[-1]):
                    raise Violation(f"{recorded.position}: {event} does not follow {chain[-1]} at {len(chain) - 1}")
                chain.append(event.to_hash)
            case DevelopmentSyncRequested() as event:
                asked = self.asked.setdefault(event.deployment_id, {})
                if event.attempt != len(asked) + 1 or event.number >= len(self.chains[event.deployment_id]):
                    raise Violation(f"{recorded.position}: {event} after {asked}")
                asked[event.attempt] = event.number
            case ReplicaPatched() | ReplicaPatchFailed() as event:
                if self.asked[event.deployment_id].get(event.attempt) != event.number:
                    raise Violation(f"{recorded.position}: {event} was never asked for")
