"""Runs cases by number: the same seed and number give the same case, on any machine and in any order."""

import dataclasses
import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any, NamedTuple

from tests.gateway.fuzz import answering, asking, grammar, handmade
from tests.gateway.fuzz.answering import Scripted
from tests.gateway.fuzz.grammar import Sent
from tests.gateway.fuzz.stand import Stand, stand

CASE_LIMIT_S = 60
"""Of real time; far above what any case needs."""


class Failed(NamedTuple):
    name: str
    case: Sent | Scripted
    reason: str


class Outcome(NamedTuple):
    tally: Counter[str]
    failed: Failed | None = None


def check(there: Stand, case: Sent | Scripted) -> str:
    """How it was answered; raises what is wrong."""
    if isinstance(case, Sent):
        return "asked, " + asking.judge(case, asking.ask(there, case))
    return "answered, " + answering.judge(case, answering.serve(there, case))


def case_of(random: Random) -> Sent | Scripted:
    return grammar.sent(random) if random.random() < 0.6 else answering.scripted(random)


def handmade_cases() -> Iterator[tuple[str, Sent | Scripted]]:
    for number, sent in enumerate(handmade.asked()):
        yield f"handmade question {number}", sent
    for number, scripted in enumerate(handmade.answered()):
        yield f"handmade answer {number}", scripted


def seeded_cases(seed: str, numbers: range) -> Iterator[tuple[str, Sent | Scripted]]:
    for number in numbers:
        yield f"seed {seed} case {number}", case_of(Random(f"{seed}:{number}"))


def run(cases: Iterable[tuple[str, Sent | Scripted]], before: Callable[[], object] = lambda: None) -> Outcome:
    """To the first failure, made small. `before` is called before each case."""
    tally: Counter[str] = Counter()
    with stand() as there:
        for name, case in cases:
            before()
            try:
                tally[check(there, case)] += 1
            except Exception as error:
                small, reason = shrunken(case, error)
                return Outcome(tally, Failed(name, small, reason))
    return Outcome(tally)


def failure_of(case: Sent | Scripted) -> Exception | None:
    with stand() as there:
        try:
            check(there, case)
        except Exception as error:
            return error
    return None


def shrunken(case: Sent | Scripted, error: Exception) -> tuple[Any, str]:
    """The case without whatever it fails without, too."""
    best: Any = case
    found = failure_of(case)
    if found is None:
        return case, f"{error!r} (only after the cases before it: something was left behind)"
    error = found
    for candidate in (dataclasses.replace(best, segments=[best.raw]), dataclasses.replace(best, hurried=False)):
        if (found := failure_of(candidate)) is not None:
            best, error = candidate, found
    size = max((len(segment) for segment in best.segments), default=0)
    while size := size // 2:
        for place in range(len(best.segments)):
            at = 0
            while at < len(best.segments[place]):
                segments = list(best.segments)
                segments[place] = segments[place][:at] + segments[place][at + size :]
                candidate = dataclasses.replace(best, segments=segments)
                if (found := failure_of(candidate)) is not None:
                    best, error = candidate, found
                else:
                    at += size
    return best, repr(error)


def prepare() -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # It warns of every request it refuses.
    signal.signal(signal.SIGALRM, hung)


def hung(number: int, frame: object) -> None:
    raise TimeoutError(f"it hangs: no end within {CASE_LIMIT_S} s")


def work(seed: str, numbers: range | None) -> Outcome:
    """None: the handmade ones."""
    cases = handmade_cases() if numbers is None else seeded_cases(seed, numbers)
    outcome = run(cases, before=partial(signal.alarm, CASE_LIMIT_S))
    signal.alarm(0)
    return outcome
