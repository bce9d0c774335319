"""The simulator over many seeds, and over those that once failed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.run import run_seed

pytestmark = pytest.mark.sim
HERE = Path(__file__).parent
SEEDS, STEPS_EACH = 200, 40
"""Fewer steps than a run by hand has: many short lives find more than a few long ones in the same time."""


def kept() -> list[tuple[int, int]]:
    lines = (HERE / "seeds.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [(int(seed), int(steps)) for seed, steps, *_ in rows]


def simulator(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.sim", *arguments],
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(900)
def test_two_hundred_seeds_hold_every_invariant_and_settle() -> None:
    ran = simulator("--seeds", f"0:{SEEDS}", "--steps", str(STEPS_EACH), "--jobs", str(os.cpu_count() or 1))
    assert ran.returncode == 0, ran.stdout[-12_000:] + ran.stderr[-4_000:]
    assert ran.stdout.count("answered, log ") == SEEDS


@pytest.mark.parametrize(("seed", "steps"), kept())
def test_a_seed_that_once_failed_does_not_fail_again(seed: int, steps: int) -> None:
    result = run_seed(seed, steps)
    assert not result.failure, "\n".join([*result.story, result.failure])


def test_the_same_seed_gives_the_same_log() -> None:
    here = run_seed(7, 40)
    again = run_seed(7, 40)
    elsewhere = [simulator("--seed", "7", "--steps", "40", hash_seed=each).stdout for each in ("1", "2")]
    assert here.digest == again.digest
    assert all(here.digest[:12] in said for said in elsewhere), elsewhere
    assert run_seed(8, 40).digest != here.digest


def test_a_failure_names_its_seed_and_how_to_repeat_it() -> None:
    """No patience at all: some of a few seeds have not settled the moment that the faults end."""
    ran = simulator("--seeds", "1:9", "--steps", "10", "--settle", "0")
    assert ran.returncode == 1
    assert "FAILED: Violation: not settled" in ran.stdout
    assert re.search(r"make sim SEED=[1-8] STEPS=10", ran.stdout)
