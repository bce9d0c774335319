"""Whatever a receiver does: each event is sent until it arrives or is given up, in order within its entity."""

from collections import defaultdict
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as some

from events.base import Actor, CommandId, CorrelationId, EventId, Metadata, NodeId, Position, StreamName
from events.codec import Recorded
from events.node import NodeLeft
from gateway.webhooks.lanes import Job, Lanes, Policy

POLICY = Policy(attempts_max=3, first_pause_s=1, pause_max_s=8, away_pause_max_s=4, concurrency=3, window=50)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def recorded(position: int, entity: int) -> Recorded:
    name = f"{position}"
    meta = Metadata(
        id=EventId(name), command_id=CommandId(name), correlation_id=CorrelationId(name), causation_id=None,
        actor=Actor("test", "internal"), at=AT,
    )  # fmt: skip
    node = NodeId(f"n{entity}")
    return Recorded(Position(position), StreamName("node", node), NodeLeft(node_id=node, reason=""), meta)


RESULTS = some.sampled_from(("delivered", "delivered", "failed", "away", "put off"))


@given(
    entities=some.lists(some.integers(0, 3), max_size=30),
    results=some.lists(RESULTS, max_size=300),
    chance=some.floats(0, 1),
    order=some.randoms(use_true_random=False),
)
def test_nothing_is_lost_and_each_entity_sees_its_own_order(entities, results, chance, order) -> None:  # type: ignore[no-untyped-def]
    lanes, now = Lanes(POLICY), 0.0
    for number, entity in enumerate(entities, 1):
        lanes.add(Job(recorded(number, entity)))
    under_way: list[Job] = []
    ended: dict[StreamName, list[Position]] = defaultdict(list)
    answers = iter([*results, *["delivered"] * 1000])
    while lanes.open:
        while (job := lanes.take(now)) is not None:
            under_way.append(job)
            assert len({each.recorded.stream for each in under_way}) == len(under_way) <= POLICY.concurrency
        if under_way:
            job = under_way.pop(order.randrange(len(under_way)))
            match next(answers):
                case "delivered":
                    lanes.settled(job)
                    ended[job.recorded.stream].append(job.recorded.position)
                case "away":
                    lanes.away(job, now, chance)
                case "put off":
                    lanes.postponed(job, now + 1)
                case _:
                    if not lanes.failed(job, now, chance):
                        assert job.attempts == POLICY.attempts_max
                        lanes.dropped(job)
                        ended[job.recorded.stream].append(job.recorded.position)
        else:
            at = lanes.next_at()
            assert at is not None and at > now, "open and idle: something must fall due"
            now = at
    assert all(seen == sorted(seen) for seen in ended.values())
    assert sorted(position for seen in ended.values() for position in seen) == list(range(1, len(entities) + 1))


def test_an_entity_that_fails_holds_up_no_other() -> None:
    lanes = Lanes(POLICY)
    for position, entity in ((1, 0), (2, 0), (3, 1), (4, 1)):
        lanes.add(Job(recorded(position, entity)))
    bad, good = lanes.take(0), lanes.take(0)
    assert bad is not None and good is not None and lanes.take(0) is None
    assert lanes.failed(bad, 0, 1.0)
    lanes.settled(good)
    following = lanes.take(0)
    assert following is not None and following.recorded.position == 4
    assert lanes.take(0) is None and lanes.next_at() == 1.0
    again = lanes.take(1.0)
    assert again is bad


def test_a_receiver_that_is_away_is_asked_singly_and_its_events_keep_their_attempts() -> None:
    lanes, now, asked = Lanes(POLICY), 0.0, 0
    for position in range(1, 11):
        lanes.add(Job(recorded(position, position)))
    first = [lanes.take(now) for _ in range(3)]
    for job in first:
        assert job is not None
        lanes.away(job, now, 1.0)
    while now < 100:
        job = lanes.take(now)
        assert lanes.take(now) is None, "one at a time"
        if job is None:
            at = lanes.next_at()
            assert at is not None and at - now <= POLICY.away_pause_max_s
            now = at
            continue
        asked += 1
        assert job.attempts == 0
        lanes.away(job, now, 1.0)
    assert asked < 40
    lanes.at_once()
    job = lanes.take(now)
    assert job is not None
    lanes.settled(job)
    assert [lanes.take(now) is not None for _ in range(4)] == [True, True, True, False]


def test_a_dead_letter_that_was_asked_for_goes_before_later_events_of_its_entity() -> None:
    lanes = Lanes(POLICY)
    lanes.add(Job(recorded(5, 0)))
    assert lanes.add(Job(recorded(2, 0), asked=1)) and not lanes.add(Job(recorded(2, 0), asked=1))
    job = lanes.take(0)
    assert job is not None and job.recorded.position == 2
    assert [each.position for each in lanes.open] == [5], "the log knows what was asked for"
