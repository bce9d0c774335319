"""What an environment's decider knows of its active promotion: the phase that it is in, folded from its events."""

from typing import Literal

import msgspec

from events.base import Event
from events.environment import (
    PromotionPaused,
    PromotionResumed,
    PromotionRolledBack,
    PromotionStarted,
    PromotionStepped,
)

Phase = Literal["NONE", "RELEASING", "RAMPING_UP", "PAUSED", "RAMPING_DOWN"]
PHASES: tuple[Phase, ...] = ("NONE", "RELEASING", "RAMPING_UP", "PAUSED", "RAMPING_DOWN")


class Promotion(msgspec.Struct, frozen=True):
    """The active one."""

    started: PromotionStarted
    moves: int = 0
    """Events since it began: what was worked out before the last of them is void."""
    percent: int = 0
    ready: int = 0
    """That the share counts on."""
    candidate_replicas: int = 0
    current_replicas: int = 0
    lowered: bool = False
    """The current deployment has given replicas away; it needs them back before it can take all traffic."""
    paused: bool = False
    outcome: Literal["FAILED", "CANCELED"] | None = None
    """What it will have been, when it is on its way back."""
    reason: str = ""

    @property
    def phase(self) -> Phase:
        if self.outcome is not None:
            return "RAMPING_DOWN"
        if self.paused:
            return "PAUSED"
        return "RAMPING_UP" if self.percent else "RELEASING"


def begin(started: PromotionStarted) -> Promotion:
    return Promotion(started, candidate_replicas=started.wanted_replicas, current_replicas=started.current_replicas)


def advance(promotion: Promotion, event: Event) -> Promotion:
    """What a promotion is after one more of its events that does not end it."""
    replace, moves = msgspec.structs.replace, promotion.moves + 1
    match event:
        case PromotionStepped():
            return replace(
                promotion,
                moves=moves,
                percent=event.percent,
                ready=event.ready,
                candidate_replicas=event.candidate_replicas,
                current_replicas=event.current_replicas,
                lowered=promotion.lowered or event.current_replicas < promotion.started.current_replicas,
                paused=event.held,
            )
        case PromotionPaused():
            return replace(promotion, moves=moves, paused=True)
        case PromotionResumed():
            return replace(promotion, moves=moves, paused=False)
        case PromotionRolledBack():
            return replace(
                promotion,
                moves=moves,
                percent=event.percent,
                paused=False,
                outcome=event.outcome,
                reason=event.reason,
            )
        case _:
            return promotion
