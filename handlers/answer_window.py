"""What gateway workers told of a deployment's answers within the last minute, and when that is too bad. Pure."""

from collections import deque

import msgspec

from events.environment import Comparison, Figures, PromotionSettings
from events.signals import Answers
from events.signals.answers import percentile_s

OVER_S = 60.0
ENOUGH = 20
"""Answers that a deployment must have given within that time to be judged by, or against."""


class AnswerWindow(msgspec.Struct):
    told: deque[tuple[float, Answers]] = msgspec.field(default_factory=deque)
    numbers: dict[str, int] = {}
    """Of each worker's last report."""

    def hear(self, answers: Answers, now: float) -> None:
        if answers.number <= self.numbers.get(answers.worker, 0):  # Said twice, or overtaken.
            return
        self.numbers[answers.worker] = answers.number
        self.told.append((now, answers))

    def figures(self, now: float) -> Figures:
        while self.told and self.told[0][0] <= now - OVER_S:
            self.told.popleft()
        durations = (each for _, answers in self.told for each in answers.durations)
        p95_s = percentile_s(durations, 95)
        return Figures(
            requests=sum(answers.requests for _, answers in self.told),
            errors=sum(answers.errors for _, answers in self.told),
            p95_s=None if p95_s is None else round(p95_s, 6),
        )


def too_bad(settings: PromotionSettings, compared: Comparison) -> str:
    """Why the candidate is; empty: it is not, or it cannot be told."""
    candidate, current = compared.candidate, compared.current
    if candidate.requests < ENOUGH:
        return ""
    bound = settings.rollback_error_rate_percent
    own, other = _error_percent(candidate), _error_percent(current)
    if bound is not None and own > other + bound:
        return (
            f"{own:.1f} % of the candidate's answers were errors, and {other:.1f} % of the current deployment's:"
            f" more than {bound:g} percentage points above"
        )
    ratio = settings.rollback_p95_ratio
    if ratio is None or candidate.p95_s is None or current.p95_s is None or current.requests < ENOUGH:
        return ""
    if candidate.p95_s > current.p95_s * ratio:
        return (
            f"95 % of the candidate's answers took up to {candidate.p95_s:.3g} s, and {current.p95_s:.3g} s those of"
            f" the current deployment: more than {ratio:g} times as long"
        )
    return ""


def _error_percent(figures: Figures) -> float:
    return 100 * figures.errors / figures.requests if figures.requests else 0.0
