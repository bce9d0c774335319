"""Commands about machines: which there are, and one that is to leave."""

from collections import Counter
from typing import Annotated
from urllib.parse import quote

import typer

from ops import render
from ops.cli.options import At, Format, Output, moment, session_of
from ops.replay import state_at
from projections.fleet import FLEET

node = typer.Typer(no_args_is_help=True, help="Machines that run replicas.")


def register(app: typer.Typer) -> None:
    node.command("list")(every)
    node.command()(drain)
    app.add_typer(node, name="node")


def every(context: typer.Context, at: At = "now", output: Output = Format.table) -> None:
    """All nodes: status, what they offer and what of it is taken."""
    session = session_of(context)
    then = moment(session, at)
    fleet = session.with_log(lambda log: state_at(log, FLEET, then))
    if output is Format.json:
        render.as_json(session.out, tuple(fleet.nodes.values()))
        return
    held = Counter(each.node_id for each in fleet.replicas.values())
    render.table(
        session.out,
        ("node", "status", "replicas", "CPU, cores", "memory, GiB", "position"),
        (
            (
                each.node_id,
                each.status,
                str(held[each.node_id]),
                f"{each.cpu_used / 1000:g} of {each.cpu_millicores / 1000:g}",
                f"{each.memory_used / 2**30:.1f} of {each.memory_bytes / 2**30:.1f}",
                str(each.position),
            )
            for each in fleet.nodes.values()
        ),
        "no nodes yet",
    )


def drain(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="NODE", help="Its id: `causeway node list` has them.")],
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "asked for",
    now: Annotated[bool, typer.Option("--now", help="Drain its replicas at once, replaced or not.")] = False,
    output: Output = Format.table,
) -> None:
    """Empty a node and let it leave: it takes nothing new, its replicas are replaced elsewhere first, then drained.

    It is back when its agent is started again.
    """
    session = session_of(context)
    answer = session.call("POST", f"/v1/nodes/{quote(which, safe='')}/drain", {"reason": reason, "now": now})
    if output is Format.json:
        render.as_json(session.out, answer)
        return
    count = len(answer["replicas"])
    how = "are drained" if now else "are drained as soon as others are ready elsewhere"
    rest = f"its {count} replicas {how}, then it leaves" if count else "it runs nothing, and leaves"
    session.out.print(f"{which} drains: {rest}", style="green", soft_wrap=True)
