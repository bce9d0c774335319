"""Replicas that fail: avoided at once, left alone after several failures in a row, tried by one request afterwards."""

from hypothesis import given
from hypothesis import strategies as st

from events.base import ReplicaId
from gateway.circuit import Circuits, CircuitSettings

R = ReplicaId("r")
SETTINGS = CircuitSettings(failures=3, rest_s=2.0, rest_growth=2.0, rest_cap_s=10.0, avoid_s=1.0)


def after_failures(count: int, now: float = 0.0) -> Circuits:
    circuits = Circuits(SETTINGS)
    for _ in range(count):
        circuits.failed(R, now)
    return circuits


def test_one_failure_makes_a_replica_the_last_resort_for_a_moment() -> None:
    circuits = after_failures(1)
    assert (R in circuits.avoided, R in circuits.resting) == (True, False)
    circuits.refresh(1.0)
    assert not circuits.avoided


def test_failures_in_a_row_let_it_rest_and_an_answer_between_them_does_not() -> None:
    assert R in after_failures(3).resting
    circuits = after_failures(2)
    circuits.answered(R)
    circuits.failed(R, 0.0)
    assert R not in circuits.resting


def test_after_its_rest_one_request_tries_it() -> None:
    circuits = after_failures(3)
    circuits.refresh(1.9)
    assert R in circuits.resting
    circuits.refresh(2.0)
    assert R not in circuits.resting
    circuits.sent(R)
    circuits.refresh(50.0)
    assert R in circuits.resting, "while one tries, the others wait"
    circuits.answered(R)
    assert R not in circuits.resting and R not in circuits.avoided


def test_a_failed_trial_rests_longer_up_to_the_cap() -> None:
    circuits = after_failures(3)
    assert [circuits.failed(R, 0.0) for _ in range(4)] == [4.0, 8.0, 10.0, 10.0]


def test_a_trial_whose_caller_left_is_followed_by_another() -> None:
    circuits = after_failures(3)
    circuits.refresh(2.0)
    circuits.sent(R)
    circuits.left(R)
    circuits.refresh(2.0)
    assert R not in circuits.resting


@given(st.lists(st.sampled_from(["failed", "answered", "sent", "left", "later"]), max_size=40))
def test_whatever_happens_a_replica_that_is_left_in_peace_is_tried_again(story: list[str]) -> None:
    circuits, now = Circuits(SETTINGS), 0.0
    for step in story:
        now += 0.5
        match step:
            case "failed":
                circuits.failed(R, now)
            case "answered":
                circuits.answered(R)
                assert R not in circuits.avoided and R not in circuits.resting
            case "sent":
                circuits.sent(R)
            case "left":
                circuits.left(R)
            case _:
                circuits.refresh(now)
    circuits.left(R)
    circuits.refresh(now + SETTINGS.rest_cap_s)
    assert not circuits.avoided and not circuits.resting


def test_replicas_that_are_gone_are_forgotten() -> None:
    circuits = after_failures(5)
    circuits.keep(set())
    assert not circuits.avoided and not circuits.resting
