"""The gateway and h11 agree on whatever callers and replicas send; `make fuzz` asks for far more of the same."""

import logging
from itertools import islice
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.fuzz.answering import scripted
from tests.gateway.fuzz.grammar import sent
from tests.gateway.fuzz.run import Failed, failure_of, handmade_cases, run, seeded_cases

RANDOM = st.randoms(use_true_random=False)
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """uvicorn warns of every request it refuses."""
    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")


def told(failed: Failed | None) -> None:
    assert failed is None, f"{failed.name}\n{failed.case}\n{failed.reason}"


def test_every_third_handmade_case_holds() -> None:
    outcome = run(islice(handmade_cases(), 0, None, 3))
    told(outcome.failed)
    assert outcome.tally.total() > 3000


def test_random_cases_hold_and_reach_every_way_to_end() -> None:
    outcome = run(seeded_cases("tests", range(3000)))
    told(outcome.failed)
    ways = {"asked, passed on", "asked, refused", "answered, passed on", "answered, refused", "answered, broken off"}
    assert all(outcome.tally[way] > 50 for way in ways), outcome.tally
    assert outcome.tally["answered, switched"] > 10


@SETTINGS
@given(RANDOM)
def test_no_caller_is_understood_otherwise_than_by_h11(random: Random) -> None:
    case = sent(random)
    error = failure_of(case)
    assert error is None, (case, error)


@SETTINGS
@given(RANDOM)
def test_no_broken_answer_looks_whole(random: Random) -> None:
    case = scripted(random)
    error = failure_of(case)
    assert error is None, (case, error)
