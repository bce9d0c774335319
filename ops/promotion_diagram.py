"""`make diagram`: the picture of a promotion's states in ops/docs/promotion.md, drawn by asking the decider.

Every command of the table is put to a promotion in every phase; an arrow is what comes out. The text between the two
marks is never edited; `--check` refuses a document in which it lags behind the table.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from events.base import Actor, CommandId, CorrelationId, DeploymentId, Event, ModelId, PromotionId
from events.environment import PromotionCancelled, PromotionCompleted, PromotionFailed, PromotionSettings
from events.environment import PromotionStarted as Started
from handlers.base import Command, Refused
from handlers.deciders.environment import ENVIRONMENT, EnvironmentState, place_of
from handlers.deciders.promotion import decide_promotion
from handlers.deciders.promotion_commands import COMMANDS
from handlers.deciders.promotion_phases import PHASES, Phase, Promotion
from ops.config import CHECKOUT

FILE = CHECKOUT / "ops" / "docs" / "promotion.md"
BEGIN, END = "<!-- drawn by `make diagram` -->\n", "<!-- end of the drawing -->"
_ENDS: dict[type[Event], str] = {
    PromotionCompleted: "SUCCEEDED",
    PromotionFailed: "FAILED",
    PromotionCancelled: "CANCELED",
}
_CURRENT, _CANDIDATE = DeploymentId("current"), DeploymentId("candidate")
_STARTED = Started(
    promotion_id=PromotionId("p"),
    model_id=ModelId("m"),
    environment="production",
    deployment_id=_CANDIDATE,
    previous=_CURRENT,
    wanted_replicas=2,
    cleanup="KEEP",
    deadline_s=60,
    settings=PromotionSettings(rolling_deploy=True),
    current_replicas=2,
)
_GIVEN: dict[str, Any] = {
    "model_id": _STARTED.model_id,
    "environment": _STARTED.environment,
    "deployment_id": _CANDIDATE,
    "promotion_id": _STARTED.promotion_id,
    "is_development": False,
    "wanted_replicas": 2,
    "cleanup": None,
    "deadline_s": 60,
    "after": 0,
    "percent": 50,
    "ready": 1,
    "candidate_replicas": 2,
    "current_replicas": 1,
    "reason": "",
    "candidate_ready": 1,
}


def _promotions(phase: Phase) -> tuple[Promotion | None, ...]:
    """What differs within a phase: traffic or none, replicas given away or none."""
    match phase:
        case "NONE":
            return (None,)
        case "RELEASING":
            return (Promotion(_STARTED),)
        case "RAMPING_UP":
            return tuple(Promotion(_STARTED, percent=50, lowered=lowered) for lowered in (True, False))
        case "PAUSED":
            shares = ((0, False), (50, True), (50, False))
            return tuple(Promotion(_STARTED, percent=share, lowered=low, paused=True) for share, low in shares)
        case "RAMPING_DOWN":
            outcomes = ("FAILED", "CANCELED")
            return tuple(Promotion(_STARTED, percent=50, lowered=True, outcome=each) for each in outcomes)  # type: ignore[arg-type]


def _command(kind: type[Command]) -> Command:
    identity = {"id": CommandId("c"), "actor": Actor("nobody", "drawn"), "correlation_id": CorrelationId("c")}
    fields = {name: value for name, value in _GIVEN.items() if name in kind.__struct_fields__}
    return kind(**identity, **fields)  # type: ignore[arg-type]


def arrows() -> Iterator[tuple[str, str, str]]:
    """From, to, command."""
    for phase in PHASES:
        for kind in COMMANDS:
            for promotion in _promotions(phase):
                state = EnvironmentState(current=_CURRENT, promotion=promotion)
                try:
                    events = decide_promotion(_command(kind), place_of(state))  # type: ignore[arg-type]
                except Refused:
                    continue
                if events:
                    yield phase, _after(state, events), kind.__name__


def _after(state: EnvironmentState, events: Any) -> str:
    for event in events:
        state = ENVIRONMENT.evolve(state, event)
    return _ENDS.get(type(events[-1]), place_of(state).phase)


def diagram() -> str:
    drawn: dict[tuple[str, str], dict[str, None]] = {}
    for before, after, command in arrows():
        drawn.setdefault((before, after), {})[command] = None
    lines = [
        f"  {_state(before)} --> {_state(after)}: {', '.join(commands)}" for (before, after), commands in drawn.items()
    ]
    ends = [f"  {end} --> [*]" for end in _ENDS.values()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, *ends, "```", ""])


def _state(phase: str) -> str:
    return "[*]" if phase == "NONE" else phase


def main(arguments: list[str], file: Path = FILE) -> int:
    """Draws it anew; with `--check` only compares. The exit status."""
    text = file.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + diagram() + END + after
    if "--check" in arguments and text != wanted:
        print(f"{file} lags behind the table in handlers/deciders/promotion.py: run `make diagram`", file=sys.stderr)
        return 1
    file.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
