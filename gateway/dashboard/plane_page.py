"""The plane on one page: what serves, what is under way, where it runs. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from events.base import DeploymentId
from gateway.dashboard.markup import Child, Markup, join, tag
from gateway.dashboard.moment import ROOT, Moment, World, deployment_path, environment_path
from gateway.dashboard.words import badge, bar, dim, gib, position_link, section, table
from projections.deployments import Deployment, status
from projections.environments import Environment
from projections.fleet import Node
from projections.promotion import Progress

T = TypeVar("T")
TROUBLE = ("UNHEALTHY", "DEPLOY_FAILED", "BUILD_FAILED")
SHOWN = 300
"""Rows of one table."""
NOTHING_YET = ("No deployments yet. Push one: ", tag("code", "causeway truss push FOLDER"))


def plane(world: World, find: str, moment: Moment) -> Markup:
    """`find`: only deployments whose name, id or status has this in it."""
    found = [each for each in _worst_first(world) if _is_about(each, world, find)]
    held = Counter(each.node_id for each in world.fleet.replicas.values())
    under_way = [place for places in world.environments.models.values() for place in places.values() if place.active]
    return join([
        tag("h1", "Plane", class_="quiet-title"),
        _figures(world, under_way, moment),
        section("Promotions under way", [promotion_card(place, world, moment) for place in under_way])
        if under_way
        else None,
        section(
            "Deployments",
            table(
                ("deployment", "status", "replicas", "serves", "reason"),
                [_deployment_row(world, moment, each) for each in first(found)],
                f"No deployment is about {find!r}." if find else NOTHING_YET,
                "deployments",
            ),
            more(found),
            beside=finder("", find, moment),
        ),
        section(
            "Nodes",
            table(
                ("node", "status", "replicas", "CPU", "memory, GiB", "since"),
                [_node_row(node, held[node.node_id], moment) for node in first(_nodes(world))],
                "No nodes yet.",
            ),
            more(tuple(world.fleet.nodes)),
        ),
    ])  # fmt: skip


def _is_about(each: Deployment, world: World, find: str) -> bool:
    said = f"{world.name(each.deployment_id)} {each.deployment_id} {status(each).replace('_', ' ')}"
    return find.lower() in said.lower()


def first(rows: Sequence[T]) -> Sequence[T]:
    return rows[:SHOWN]


def more(rows: Sequence[object]) -> Markup | None:
    """That there are more than a page shows."""
    left = len(rows) - SHOWN
    return tag("p", f"{left} more are not shown.", class_="dim") if left > 0 else None


def finder(path: str, find: str, moment: Moment, hint: str = "name, id, status") -> Markup:
    at = tag("input", type="hidden", name="at", value=moment.position) if moment.fixed else None
    field = tag("input", name="find", value=find, placeholder=hint, aria_label=f"find: {hint}", autocomplete="off")
    return tag("form", field, at, tag("button", "Find"), method="get", action=ROOT + path, class_="find", role="search")


def _figures(world: World, under_way: list[Environment], moment: Moment) -> Markup:
    deployments, nodes = world.catalogue.deployments.values(), world.fleet.nodes.values()
    statuses = [status(each) for each in deployments]
    troubled = sum(1 for each in statuses if each in TROUBLE)
    ready, wanted = sum(each.count("ready") for each in deployments), sum(each.target for each in deployments)
    up = sum(1 for node in nodes if node.status == "up")
    shown: list[tuple[str, str, str, str]] = [
        ("active deployments", f"{statuses.count('ACTIVE')}", f"of {len(statuses)}", ""),
        ("ready replicas", f"{ready}", f"of {wanted} wanted", "bad" if ready < wanted else ""),
        ("nodes up", f"{up}", f"of {len(nodes)}", "bad" if up < len(nodes) else ""),
        ("promotions under way", f"{len(under_way)}", "", "busy" if under_way else ""),
        ("in trouble", f"{troubled}", "failed or unhealthy", "bad" if troubled else ""),
    ]
    return tag("ul", [
        tag("li", tag("b", number), " ", tag("span", beside, class_="dim"), tag("small", name), class_=kind or None)
        for name, number, beside, kind in shown
    ], class_="figures", aria_label="the plane in numbers")  # fmt: skip


def _worst_first(world: World) -> list[Deployment]:
    """What callers miss before what only its owner does, the newest trouble first; then a model's together, the newest
    first.
    """
    by_model = [
        world.catalogue.deployments[each]
        for model in sorted(world.catalogue.models.values(), key=lambda model: model.name)
        for each in reversed(model.deployments)
    ]

    def rank(each: Deployment) -> tuple[int, int]:
        short = each.count("ready") < each.target
        if status(each) not in TROUBLE and not short:
            return 2, 0
        return 0 if world.serves(each) else 1, -each.reason_position

    return sorted(by_model, key=rank)


def _nodes(world: World) -> list[Node]:
    """Those that are not up first."""
    return sorted(world.fleet.nodes.values(), key=lambda node: node.status == "up")


def _deployment_row(world: World, moment: Moment, each: Deployment) -> tuple[Child, ...]:
    places = [
        tag("a", name, href=moment.link(environment_path(each.model_id, name)), class_="chip")
        for name in world.serves(each)
    ]
    model, name = world.model_name(each.model_id), each.name
    full = (tag("span", f"{model}/", class_="dim"), name)
    return (
        tag("a", full, href=moment.link(deployment_path(each.deployment_id)), class_="open"),
        badge(status(each)),
        tag("span", f"{each.count('ready')} of {each.target}", class_="number"),
        places,
        (dim(each.reason), " ", position_link(moment, each.reason_position)),
    )


def _node_row(node: Node, held: int, moment: Moment) -> tuple[Child, ...]:
    cpu = f"{node.cpu_used / 1000:g} of {node.cpu_millicores / 1000:g}"
    memory = f"{gib(node.memory_used)} of {gib(node.memory_bytes)}"
    return (
        tag("a", node.node_id, href=moment.link("/events", entity=node.node_id), class_="open"),
        badge(node.status),
        tag("span", held, class_="number"),
        (bar(node.cpu_used / max(node.cpu_millicores, 1), f"{cpu} CPU cores"), cpu),
        (bar(node.memory_used / max(node.memory_bytes, 1), f"{memory} GiB of memory"), memory),
        position_link(moment, node.position),
    )


def promotion_card(place: Environment, world: World, moment: Moment) -> Markup:
    """A promotion that is under way."""
    progress = place.progress
    assert progress is not None, "an active promotion has progress"
    started = progress.started
    title = tag(
        "a", f"{world.model_name(place.model_id)}/{place.name}",
        href=moment.link(environment_path(place.model_id, place.name)), class_="open",
    )  # fmt: skip
    return tag(
        "article",
        tag("p", title, " ", badge(progress.status), class_="title"),
        tag("p", replaces(progress, world, moment)),
        bar(progress.percent / 100, f"{progress.percent} percent of the traffic", "share"),
        tag(
            "p", tag("b", f"{progress.percent} %"), " of the traffic · ",
            f"{_ready(world, started.deployment_id)} of {progress.candidate_replicas} replicas ready",
            f" · {progress.reason}" if progress.reason else None, class_="dim",
        ),
        class_="card",
    )  # fmt: skip


def replaces(progress: Progress, world: World, moment: Moment) -> Markup:
    """`deployment-2 instead of deployment-1`."""
    started = progress.started
    instead = (" instead of ", deployment_link(started.previous, world, moment)) if started.previous else None
    return join((deployment_link(started.deployment_id, world, moment), instead))


def deployment_link(deployment_id: DeploymentId | None, world: World, moment: Moment) -> Markup:
    """Its name without that of its model; of one that is gone its id."""
    found = world.catalogue.deployments.get(deployment_id) if deployment_id is not None else None
    if found is None:
        return tag("span", deployment_id or "nothing", class_="dim")
    return tag("a", found.name, href=moment.link(deployment_path(found.deployment_id)))


def _ready(world: World, deployment_id: DeploymentId) -> int:
    found = world.catalogue.deployments.get(deployment_id)
    return 0 if found is None else found.count("ready")
