"""Every command by its name: the module that has it, and its line in `causeway --help`.

Listing them loads none of the modules, and running one loads that one: what a command needs (a log, an HTTP client,
half the plane) is waited for by nobody else.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

MARKUP: Final = "markdown"
COMMANDS = {
    "Stack": (
        ("up", "stack", "Start the whole plane on this machine: NATS, PostgreSQL, gateway, control, builder and node."),
        ("down", "stack",
         "Stop the stack of this state folder, and wait until all of it is gone. What it wrote stays."),
        ("reload", "stack",
         "Replace running processes by new ones of the code that lies here now, without a failed request."),
        ("status", "stack", "What runs: every role with its process, and how far the log and the audit trail are."),
        ("doctor", "stack", "What this machine offers, what is missing, and what to do about it. Changes nothing."),
        ("demo", "stack",
         "The main job, from nothing to the end: push, predict, scale to zero, promote, replay, audit."),
        ("log", "log", "The log itself: check it against its seals, restore it from its archive."),
    ),
    "Models": (
        ("models", "models", "All models, and what is current in their production environments."),
        ("deployments", "models",
         "All deployments: status, the reason for it and the position where it stands, replicas, environments."),
        ("logs", "models",
         "What a deployment's builds and replicas have printed, oldest first. JSON is one object a line."),
        ("promote", "promotions",
         "Promote a deployment: its environment's URL serves it as soon as it is ready, and not before."),
        ("truss", "truss",
         "Run the stock truss client with everything that follows: `causeway truss push examples/iris`."),
        ("deployment", "deployments", "One deployment: take it up or down, try it again, delete it."),
        ("env", "environments", "Environments: what is current where, since when, and why."),
        ("promotion", "promotions", "The promotion that is going on: pause, resume, cancel, forward."),
        ("weights", "weights", "Weights: mirrored once, checked, shared between models."),
    ),
    "History": (
        ("events", "history",
         "Events from the log, oldest first: the newest 50, or what the filters say. JSON is one object a line."),
        ("timeline", "history", "Everything that happened to a deployment, with durations and causes (as positions)."),
        ("audit", "audit",
         "Who did what and when, from the audit trail in PostgreSQL. Filters as in `events`."
         " JSON is one object a line."),
    ),
    "Time travel": (
        ("state", "travel", "The state of the plane, or of one thing in it, at any moment of its history."),
        ("diff", "travel", "What changed from moment A to moment B: one line a change, `path: before -> after`."),
        ("blame", "travel", "The event that set a field to what it is (or was, with --at)."),
        ("step", "travel",
         "Event by event, each with what it changed. On a terminal: n or space goes on, p goes back, q ends."),
        ("capsule", "capsule", "A stretch of history in one file: to take home, to hand over."),
    ),
    "Reasons": (
        ("why", "reasons",
         "Why something is there or is so: the chain of causes from the person or the signal that began it."),
        ("explain", "reasons",
         "Why a request was answered by whom it was: what was routed at its position, and what had made it so."),
        ("bisect", "reasons", "The first event after which EXPR no longer holds."),
    ),
    "Scaling": (
        ("coldstart", "scaling",
         "Where the time of a cold start goes: each stage of the newest starts, the slowest marked."),
        ("scale", "scaling",
         "Change autoscaling settings: of the environment that the deployment serves, else of the deployment alone."),
        ("whatif", "whatif",
         "What other autoscaling settings would have done with the load there was: the real autoscaler, replayed."),
        ("node", "nodes", "Machines that run replicas."),
    ),
    "Events": (
        ("webhook", "webhooks", "Webhooks: events as signed POSTs to an address of yours."),
    ),
    "Access": (
        ("key", "access", "API keys: create, list, revoke."),
        ("secret", "access", "Secrets that models may use. Values are never printed or logged."),
    ),
}  # fmt: skip
"""Panel -> its commands: name, module, the first paragraph of what `causeway NAME --help` says."""


class Commands(TyperGroup):
    """The list of all commands, in which the one that is called is replaced by itself as its module has it."""

    def __init__(self, **settings: Any) -> None:
        listed = {
            name: TyperCommand(name, help=line, rich_help_panel=panel, rich_markup_mode=MARKUP)
            for panel, commands in COMMANDS.items()
            for name, _, line in commands
        }
        super().__init__(**settings | {"commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else loaded(name), rest


def loaded(name: str) -> Any:
    """The command itself, with its options and what is below it."""
    module = next(module for commands in COMMANDS.values() for known, module, _ in commands if known == name)
    return in_module(module)[name]


@cache
def in_module(name: str) -> Mapping[str, Any]:
    commands = typer.Typer(rich_markup_mode=MARKUP)
    import_module(f"ops.cli.{name}").register(commands)
    return typer.main.get_group(commands).commands
