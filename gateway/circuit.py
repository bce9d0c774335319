"""Which replicas have failed of late: a failure makes one the last resort for a moment, several in a row let it rest.

    CLOSED     takes requests                        -> OPEN after `failures` in a row
    OPEN       rests, longer each time               -> HALF OPEN when the rest is over
    HALF OPEN  one request tries it                  -> CLOSED if it answers, OPEN if it fails

Pure: the time is an argument. Replicas that have not failed are not kept, and cost nothing.
"""

import msgspec

from events.base import ReplicaId


class CircuitSettings(msgspec.Struct, frozen=True, kw_only=True):
    failures: int = 5
    """In a row."""
    rest_s: float = 2.0
    rest_growth: float = 2.0
    rest_cap_s: float = 30.0
    avoid_s: float = 1.0


class Circuit(msgspec.Struct):
    failures: int = 0
    avoided_until: float = 0.0
    rests_until: float = 0.0
    trying: bool = False
    """Half open, and a request is on its way."""


class Circuits:
    def __init__(self, settings: CircuitSettings) -> None:
        self._settings = settings
        self.failing: dict[ReplicaId, Circuit] = {}
        """Those of which something has to be told."""
        self.avoided: set[ReplicaId] = set()
        self.resting: set[ReplicaId] = set()

    def failed(self, replica_id: ReplicaId, now: float) -> float | None:
        """Seconds until something changes by itself: a rest that begins, or None."""
        settings = self._settings
        circuit = self.failing.setdefault(replica_id, Circuit())
        circuit.failures += 1
        circuit.trying = False
        circuit.avoided_until = now + settings.avoid_s
        self.avoided.add(replica_id)
        beyond = circuit.failures - settings.failures
        if beyond < 0:
            return None
        rest_s = min(settings.rest_cap_s, settings.rest_s * settings.rest_growth ** min(beyond, 30))
        circuit.rests_until = now + rest_s
        self.resting.add(replica_id)
        return rest_s

    def sent(self, replica_id: ReplicaId) -> None:
        circuit = self.failing.get(replica_id)
        if circuit is not None and circuit.failures >= self._settings.failures:
            circuit.trying = True
            self.resting.add(replica_id)

    def answered(self, replica_id: ReplicaId) -> None:
        if replica_id in self.failing:
            self.forget(replica_id)

    def left(self, replica_id: ReplicaId) -> None:
        """Its request ended without telling anything of the replica."""
        circuit = self.failing.get(replica_id)
        if circuit is not None:
            circuit.trying = False

    def forget(self, replica_id: ReplicaId) -> None:
        self.failing.pop(replica_id, None)
        self.avoided.discard(replica_id)
        self.resting.discard(replica_id)

    def refresh(self, now: float) -> None:
        """Ends what is over by now."""
        for replica_id, circuit in self.failing.items():
            if circuit.avoided_until <= now:
                self.avoided.discard(replica_id)
            if circuit.rests_until <= now and not circuit.trying:
                self.resting.discard(replica_id)

    def keep(self, live: set[ReplicaId]) -> None:
        """Forgets replicas that are gone."""
        for replica_id in [each for each in self.failing if each not in live]:
            self.forget(replica_id)
