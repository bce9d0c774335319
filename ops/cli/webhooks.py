"""Commands about webhooks: who is told of which events, and what became of it."""

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ops import render
from ops.cli.failures import USAGE, Failure
from ops.cli.options import Format, Output, session_of

webhook = typer.Typer(no_args_is_help=True, help="Webhooks: events as signed POSTs to an address of yours.")
Id = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id.")]


def register(app: typer.Typer) -> None:
    for name, command in (
        ("add", add),
        ("list", every),
        ("move", move),
        ("remove", remove),
        ("deliveries", deliveries),
        ("dead-letters", dead_letters),
        ("redeliver", redeliver),
    ):
        webhook.command(name)(command)
    app.add_typer(webhook, name="webhook")


def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are POSTed to.")],
    types: Annotated[
        list[str] | None, typer.Option("--type", help="An event type, or a pattern: 'Replica*'. May be repeated.")
    ] = None,
    entities: Annotated[
        list[str] | None, typer.Option("--entity", help="An id that events must name. May be repeated.")
    ] = None,
    after: Annotated[
        int | None, typer.Option("--after", help="Begin after this position; 0: with the first event. Else from now.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="What you will know it by.")] = "",
    output: Output = Format.table,
) -> None:
    """Add a webhook and print its id and its secret, this once."""
    session = session_of(context)
    asked = {"url": url, "types": types or [], "entities": entities or [], "after": after, "description": description}
    made = session.call("POST", "/v1/webhooks", asked)
    if output is Format.json:
        render.as_json(session.out, made)
        return
    session.out.print(f"webhook {made['id']}: events after position {made['after']} go to {made['url']}")
    session.out.print(f"secret {made['secret']}", soft_wrap=True)
    session.err.print("this secret is shown only now; receivers check signatures with it", style="dim")


def every(context: typer.Context, output: Output = Format.table) -> None:
    """The webhooks, how far each is, and why it waits."""
    session = session_of(context)
    found: list[dict[str, Any]] = session.call("GET", "/v1/webhooks")["webhooks"]
    if output is Format.json:
        render.as_json(session.out, found)
        return
    rows = (
        (
            each["id"],
            each["url"],
            " ".join((*each["types"], *each["entities"])) or "all",
            _number(each["position"]),
            _number(each["open"]),
            str(each["dead_letters"]),
            each["waits"] or "",
        )
        for each in found
    )
    columns = ("webhook", "url", "for", "position", "open", "dead letters", "waits")
    render.table(session.out, columns, rows, "no webhooks")


def move(context: typer.Context, webhook_id: Id, url: Annotated[str, typer.Argument(metavar="URL")]) -> None:
    """Send whatever is still to come, and what waits, to another address. The secret stays."""
    session = session_of(context)
    session.call("PATCH", _path(webhook_id), {"url": url})
    session.out.print(f"webhook {webhook_id} goes to {url}")


def remove(context: typer.Context, webhook_id: Id) -> None:
    """Remove a webhook. What it has not delivered yet stays undelivered."""
    session = session_of(context)
    session.call("DELETE", _path(webhook_id))
    session.out.print(f"webhook {webhook_id} is removed")


def deliveries(
    context: typer.Context,
    webhook_id: Id,
    limit: Annotated[int, typer.Option("--limit", help="At most so many, the newest.")] = 20,
    output: Output = Format.table,
) -> None:
    """Its last attempts, the newest first: when, what, how it was answered, how long that took."""
    session = session_of(context)
    found: list[dict[str, Any]] = session.call("GET", f"{_path(webhook_id)}/deliveries?limit={limit}")["deliveries"]
    if output is Format.json:
        render.as_json(session.out, found)
        return
    rows = (
        (
            render.clock(datetime.fromtimestamp(each["at"], UTC)),
            str(each["position"]),
            each["type"],
            str(each["number"]),
            each["result"],
            render.seconds(each["seconds"]),
            each["reason"],
        )
        for each in found
    )
    columns = ("time (UTC)", "position", "event", "attempt", "result", "took", "reason")
    render.table(session.out, columns, rows, "nothing was sent yet")


def dead_letters(context: typer.Context, webhook_id: Id, output: Output = Format.table) -> None:
    """Events that its receiver refused too often; `--output json` shows them whole."""
    session = session_of(context)
    found: list[dict[str, Any]] = session.call("GET", f"{_path(webhook_id)}/dead_letters?limit=1000")["dead_letters"]
    if output is Format.json:
        render.as_json(session.out, found)
        return
    rows = (
        (
            str(each["position"]),
            each["event"]["type"],
            each["event"]["subject"],
            str(each["attempts"]),
            "redelivering" if each["redelivering"] else each["reason"],
        )
        for each in found
    )
    render.table(session.out, ("position", "event", "entity", "attempts", "reason"), rows, "no dead letters")


def redeliver(
    context: typer.Context,
    webhook_id: Id,
    positions: Annotated[list[int] | None, typer.Argument(metavar="[POSITION]...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
) -> None:
    """Send dead letters again, in the order of their positions."""
    session = session_of(context)
    if bool(positions) == everything:
        fix = f"causeway webhook redeliver {webhook_id} --all"
        raise Failure("say which dead letters: positions, or --all", fix, USAGE)
    asked: dict[str, Any] = {"all": True} if everything else {"positions": positions}
    count = len(session.call("POST", f"{_path(webhook_id)}/redeliver", asked)["redelivering"])
    session.out.print(f"{count} to be sent again")


def _path(webhook_id: str) -> str:
    return f"/v1/webhooks/{quote(webhook_id, safe='')}"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
