"""Reading one field of a folded state by its path, and where the record of an entity stands in which view. Pure."""

from typing import Any, Final

import msgspec

from projections.deployments import Deployment, status

Path = tuple[str, ...]


class _Missing(msgspec.Struct, frozen=True):
    def __repr__(self) -> str:
        return "(nothing)"


MISSING: Final = _Missing()
"""There is no such thing in the state: not the same as None."""
KINDS = ("model", "deployment", "environment", "replica", "node")
WORKED_OUT = "status"
"""A deployment's, which is not kept in the state but follows from it."""


def record_of(kind: str, entity: str) -> tuple[str, Path]:
    """The view that holds the record of an entity, and the path to it."""
    match kind:
        case "model":
            return "deployments", ("models", entity)
        case "deployment":
            return "deployments", ("deployments", entity)
        case "environment":
            model_id, _, name = entity.partition("-")
            return "environments", ("models", model_id, name)
        case "replica":
            return "fleet", ("replicas", entity)
        case "node":
            return "fleet", ("nodes", entity)
        case _:
            raise ValueError(f"{kind!r} has no record; known are {', '.join(KINDS)}")


def read(state: Any, path: Path) -> Any:
    """What stands there, or MISSING."""
    for name in path:
        state = _step(state, name)
        if state is MISSING:
            return MISSING
    return state


def _step(state: Any, name: str) -> Any:
    match state:
        case dict():
            return state.get(name, MISSING)
        case Deployment() if name == WORKED_OUT:
            return status(state)
        case msgspec.Struct():
            return getattr(state, name) if name in state.__struct_fields__ else MISSING
        case list() | tuple() if name.isdecimal() and int(name) < len(state):
            return state[int(name)]
        case _:
            return MISSING


def names_in(state: Any) -> tuple[str, ...]:
    """The names by which `read` goes on from here."""
    match state:
        case dict():
            return tuple(map(str, state))
        case Deployment():
            return (*state.__struct_fields__, WORKED_OUT)
        case msgspec.Struct():
            return state.__struct_fields__
        case list() | tuple():
            return tuple(map(str, range(len(state))))
        case _:
            return ()


def plain(value: Any) -> Any:
    """A copy as plain values, which no later event changes."""
    return value if value is MISSING else msgspec.to_builtins(value, order="deterministic")
