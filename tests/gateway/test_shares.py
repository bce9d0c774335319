"""What other workers have in flight counts here until it is told anew or expires."""

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from events.base import DeploymentId, ReplicaId
from events.signals import Load, Share
from gateway.shares import EXPIRES_S, Shares

D = DeploymentId("d")


def load(worker: str, parked: int = 0, deployment: str = "d", **replicas: int) -> Load:
    return Load(
        worker=worker,
        deployment_id=DeploymentId(deployment),
        in_flight=sum(replicas.values()),
        parked=parked,
        waiting_since=datetime(2026, 1, 1, tzinfo=UTC) if parked else None,
        replicas=tuple(Share(ReplicaId(name), count) for name, count in replicas.items()),
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


class Counted:
    def __init__(self) -> None:
        self.counts = Counter[ReplicaId]()
        self.shares = Shares(self.shift)

    def shift(self, replica_id: ReplicaId, by: int) -> None:
        self.counts[replica_id] += by


def test_the_last_word_of_each_worker_counts() -> None:
    counted = Counted()
    assert not counted.shares.heard(load("a", r1=2), 0.0)
    assert not counted.shares.heard(load("b", r1=1, r2=1), 0.0)
    assert counted.counts == {"r1": 3, "r2": 1}
    assert counted.shares.heard(load("a", r1=1), 1.0), "there is more room than before"
    assert counted.counts == {"r1": 2, "r2": 1}


def test_a_worker_that_falls_silent_holds_nothing_for_long() -> None:
    counted = Counted()
    counted.shares.heard(load("a", r1=2), 0.0)
    counted.shares.heard(load("b", r1=1), 3.0)
    assert counted.shares.next_expiry == EXPIRES_S
    assert counted.shares.expire(EXPIRES_S) == {D}
    assert +counted.counts == {"r1": 1}


def test_who_waits_elsewhere_is_known() -> None:
    counted = Counted()
    counted.shares.heard(load("a", parked=3), 0.0)
    assert set(counted.shares.waiting) == {D}
    assert counted.shares.heard(load("a"), 0.0), "who was first has gone"
    assert not counted.shares.waiting and counted.shares.next_expiry is None


LOADS = st.builds(
    lambda worker, deployment, replicas: load(worker, 0, deployment, **replicas),
    st.sampled_from("abc"),
    st.sampled_from("de"),
    st.dictionaries(st.sampled_from(["r1", "r2"]), st.integers(0, 5)),
)


@given(st.lists(LOADS, max_size=30))
def test_the_counts_are_the_sum_of_what_was_last_told_and_end_at_nothing(told: list[Load]) -> None:
    counted, last = Counted(), dict[tuple[str, str], Load]()
    for each in told:
        counted.shares.heard(each, 0.0)
        last[each.worker, each.deployment_id] = each
    expected = Counter[ReplicaId]()
    for each in last.values():
        for share in each.replicas:
            expected[share.replica_id] += share.in_flight
    assert +counted.counts == +expected
    counted.shares.expire(EXPIRES_S)
    assert not +counted.counts and counted.shares.next_expiry is None
