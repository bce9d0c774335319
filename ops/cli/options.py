"""Options that several commands share, and how a command gets its session."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, cast

import typer

from ops.cli.session import Session
from ops.moments import Moment, parse_moment, parse_time


class Format(StrEnum):
    table = "table"
    json = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="`table` for people, `json` for programs.")]
At = Annotated[
    str, typer.Option("--at", help="The moment: a position (42), a time (2026-11-21T19:30:00Z), 15m ago (15m) or now.")
]

Of = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Only of this model (name or id).")]
Which = Annotated[
    str,
    typer.Argument(metavar="DEPLOYMENT", help="A deployment: its id, iris/deployment-2, or iris if it has one."),
]


def session_of(context: typer.Context) -> Session:
    return cast(Session, context.obj)


def moment(session: Session, text: str) -> Moment:
    """Raises BadMoment."""
    return parse_moment(text, session.now())


def time_or_none(session: Session, text: str | None) -> datetime | None:
    """Raises BadMoment."""
    return None if text is None else parse_time(text, session.now())
