"""How far a promotion has come: its status, its share of the traffic, the replicas that it calls for.

Folded from its own events alone; the environments view shows it, and the promote reactor decides the next step by it.
"""

from typing import Literal

import msgspec

from events.environment import (
    Comparison,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionPaused,
    PromotionResumed,
    PromotionRolledBack,
    PromotionStarted,
    PromotionStepped,
)

Status = Literal["RELEASING", "RAMPING_UP", "PAUSED", "RAMPING_DOWN", "SUCCEEDED", "FAILED", "CANCELED"]
PromotionEvent = (
    PromotionStarted
    | PromotionStepped
    | PromotionPaused
    | PromotionResumed
    | PromotionRolledBack
    | PromotionCompleted
    | PromotionFailed
    | PromotionCancelled
)


class Progress(msgspec.Struct, frozen=True):
    started: PromotionStarted
    status: Status = "RELEASING"
    moves: int = 0
    """Events since it began."""
    percent: int = 0
    """Of the traffic that the candidate gets."""
    ready: int = 0
    """Replicas that the share counts on."""
    candidate_replicas: int = 0
    """That it is to have."""
    current_replicas: int = 0
    """That it is to keep, or to get back."""
    stepped: bool = False
    canary_over: bool = False
    """A person has said that it may go on."""
    reason: str = ""
    """Why it went back, failed or was cancelled."""
    figures: Comparison | None = None
    """By which it was rolled back."""

    @property
    def active(self) -> bool:
        return self.status not in ("SUCCEEDED", "FAILED", "CANCELED")


def advance(progress: Progress | None, event: PromotionEvent) -> Progress | None:
    """None: an event of a promotion whose beginning was not seen."""
    if isinstance(event, PromotionStarted):
        return Progress(event, candidate_replicas=event.wanted_replicas, current_replicas=event.current_replicas)
    if progress is None:
        return None
    return msgspec.structs.replace(_moved(progress, event), moves=progress.moves + 1)


def _moved(progress: Progress, event: PromotionEvent) -> Progress:
    replace = msgspec.structs.replace
    going: Status = "RAMPING_UP" if progress.percent else "RELEASING"
    match event:
        case PromotionStepped():
            return _stepped(progress, event)
        case PromotionPaused():
            return replace(progress, status="PAUSED")
        case PromotionResumed():
            return replace(progress, status=going, canary_over=progress.canary_over or progress.percent > 0)
        case PromotionRolledBack():
            return replace(
                progress,
                status="RAMPING_DOWN",
                percent=event.percent,
                current_replicas=progress.started.current_replicas,
                reason=event.reason,
                figures=event.figures or progress.figures,
            )
        case PromotionCompleted():
            return replace(progress, status="SUCCEEDED", percent=100)
        case PromotionFailed():
            return replace(progress, status="FAILED", percent=0, reason=event.reason)
        case PromotionCancelled():
            return replace(progress, status="CANCELED", percent=0, reason=event.reason)
        case PromotionStarted():
            return progress


def _stepped(progress: Progress, event: PromotionStepped) -> Progress:
    """On the way back a step stays on the way back."""
    ahead: Status = "RAMPING_UP" if event.percent else "RELEASING"
    status: Status = progress.status if progress.status == "RAMPING_DOWN" else "PAUSED" if event.held else ahead
    return msgspec.structs.replace(
        progress,
        status=status,
        percent=event.percent,
        ready=event.ready,
        candidate_replicas=event.candidate_replicas,
        current_replicas=event.current_replicas,
        stepped=True,
    )
