"""Weights: what is in the blob store and for whom, what is being mirrored, who has had it; and one manifest. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from events.base import DeploymentId, NodeId
from events.signals.log_lines import LogLine
from events.weights import ManifestId
from gateway.dashboard.markup import Child, Markup, join, tag
from gateway.dashboard.moment import Moment, World, deployment_path, weights_path
from gateway.dashboard.plane_page import finder, first, more
from gateway.dashboard.sources import File
from gateway.dashboard.words import badge, bar, dim, fields, notice, position_link, section, table, when
from projections.weights import InStore, OnNode, Pin, Weights

NOTHING_YET = ("No weights yet: a deployment whose config has ", tag("code", "weights"), " brings some.")
SHORT = 12
Users = Mapping[ManifestId, Sequence[tuple[DeploymentId, str]]]
"""Deployments that mount a manifest, and where."""


def under_way(found: Weights) -> Iterator[tuple[DeploymentId, Pin]]:
    """What is pinned, and is neither mirrored nor given up."""
    for deployment_id, pins in found.pins.items():
        for pin in pins.values():
            if pin.manifest_id is None and not pin.failed:
                yield deployment_id, pin


def weights(
    world: World, found: Weights, said: Mapping[tuple[DeploymentId, str], LogLine], find: str, moment: Moment
) -> Markup:
    """`find`: only what has this in its source, its id, or the name or id of a deployment that wants it."""
    users = _users(found)
    manifests = [each for each in found.mirrored.values() if _is_about(each, users, world, find)]
    pins = [
        (deployment_id, pin)
        for deployment_id, own in found.pins.items()
        for pin in own.values()
        if find.lower() in f"{world.name(deployment_id)} {deployment_id} {pin.source} {pin.manifest_id}".lower()
    ]
    moving = [each for each in pins if each[1].manifest_id is None and not each[1].failed]
    return join([
        tag("div", tag("h1", "Weights"), finder("/weights", find, moment, "source, deployment, id"), class_="head"),
        _figures(found, moment),
        section("Being mirrored", _moving(moving, said, world, moment)) if moving else None,
        section(
            "In the blob store",
            table(
                ("manifest", "source", "revision", "files", "size", "mounted by", "nodes", "mirrored"),
                [_row(each, found, users, world, moment) for each in first(manifests[::-1])],
                f"No weights are about {find!r}." if find else NOTHING_YET,
            ),
            more(manifests),
        ),
        section(
            "Sources and pins",
            table(
                ("deployment", "source", "mounted at", "pinned to", "came to", "since"),
                [_pin_row(deployment_id, pin, world, moment) for deployment_id, pin in first(pins[::-1])],
                f"No source is about {find!r}." if find else "No deployment that is not deleted names a source.",
            ),
            more(pins),
        ),
    ])  # fmt: skip


def _users(found: Weights) -> Users:
    users: dict[ManifestId, list[tuple[DeploymentId, str]]] = defaultdict(list)
    for deployment_id, mounts in found.mounts.items():
        for mount in mounts:
            users[mount.manifest_id].append((deployment_id, mount.mount_location))
    return users


def _is_about(each: InStore, users: Users, world: World, find: str) -> bool:
    names = " ".join(f"{world.name(user)} {user}" for user, _ in users.get(each.manifest_id, ()))
    return find.lower() in f"{each.manifest_id} {each.source} {names}".lower()


def _figures(found: Weights, moment: Moment) -> Markup:
    needed = found.needed()
    nodes = {node_id for each in needed for node_id in found.on_nodes.get(each, {})}
    moving = sum(1 for _ in under_way(found))
    kept = size(sum(each.bytes for each in found.mirrored.values() if each.manifest_id in needed))
    shown = [
        ("manifests needed", f"{len(needed)}", f"of {len(found.mirrored)} kept", ""),
        ("size of their files", kept, "", ""),
        ("being mirrored", f"{moving}", "", "busy" if moving else ""),
        ("nodes have had some", f"{len(nodes)}", "", ""),
    ]
    return tag("ul", [
        tag("li", tag("b", number), " ", tag("span", beside, class_="dim"), tag("small", name), class_=kind or None)
        for name, number, beside, kind in shown
    ], class_="figures", aria_label="weights in numbers")  # fmt: skip


def _moving(
    moving: Sequence[tuple[DeploymentId, Pin]], said: Mapping[tuple[DeploymentId, str], LogLine], world: World,
    moment: Moment,
) -> Markup:  # fmt: skip
    def told(deployment_id: DeploymentId, pin: Pin) -> Markup:
        line = said.get((deployment_id, pin.source))
        text = line.message.partition(f"{pin.source}: ")[2] if line is not None else "nothing is printed about it yet"
        logs = moment.link(deployment_path(deployment_id, "/logs"), source="build", contains="weights")
        return join((text, " ", None if moment.source else tag("a", "log", href=logs)))

    return table(
        ("deployment", "source", "files", "size", "progress", "since"),
        [
            (
                _deployment(deployment_id, world, moment),
                pin.source,
                tag("span", pin.files, class_="number"),
                tag("span", size(pin.bytes), class_="number"),
                told(deployment_id, pin),
                position_link(moment, pin.position),
            )
            for deployment_id, pin in moving
        ],
        "Nothing is being mirrored.",
    )


def _row(each: InStore, found: Weights, users: Users, world: World, moment: Moment) -> tuple[Child, ...]:
    nodes = found.on_nodes.get(each.manifest_id, {})
    mounted = [[_deployment(user, world, moment), " "] for user, _ in users.get(each.manifest_id, ())]
    return (
        manifest_link(each.manifest_id, moment),
        each.source,
        tag("span", each.revision[:SHORT], class_="id", title=each.revision),
        tag("span", each.files, class_="number"),
        tag("span", size(each.bytes), class_="number"),
        mounted or tag("span", "nobody", class_="dim"),
        tag("span", len(nodes), class_="number", title=", ".join(nodes)),
        (when(each.at, moment), " ", position_link(moment, each.position)),
    )


def _pin_row(deployment_id: DeploymentId, pin: Pin, world: World, moment: Moment) -> tuple[Child, ...]:
    came: Child
    if pin.manifest_id is not None:
        came = manifest_link(pin.manifest_id, moment)
    elif pin.failed:
        came = (badge("FAILED"), " ", dim(pin.failed))
    else:
        came = badge("under way")
    return (
        _deployment(deployment_id, world, moment),
        pin.source,
        tag("code", pin.mount_location),
        tag("span", pin.revision[:SHORT], class_="id", title=pin.revision),
        came,
        position_link(moment, pin.position),
    )


def manifest(
    world: World, found: Weights, known: InStore, files: Sequence[File] | str, moment: Moment
) -> Markup:  # fmt: skip
    """`files`: or why they cannot be told."""
    mounted = [
        (_deployment(user, world, moment), tag("code", place)) for user, place in _users(found)[known.manifest_id]
    ]
    needed = known.manifest_id in found.needed()
    return join([
        tag("div", tag("h1", tag("span", known.manifest_id[:SHORT], class_="id")),
            tag("span", "needed" if needed else "needed by nobody", class_="chip"),
            class_="name"),
        tag("p", "mirrored from ", known.source, " ", position_link(moment, known.position), class_="reason"),
        fields({
            "manifest": tag("span", known.manifest_id, class_="id"),
            "revision": tag("span", known.revision, class_="id"),
            "files": known.files,
            "size": f"{size(known.bytes)} in {known.chunks} different chunks",
            "mirrored (UTC)": when(known.at, moment),
        }),
        section("Mounted by", table(("deployment", "at"), mounted, "No deployment that is not deleted mounts it.")),
        section(
            "Nodes",
            _nodes(found.on_nodes.get(known.manifest_id, {}), known, world, moment),
            tag("p", "A node's cache lets weights go when it needs the room, and nothing tells so.", class_="dim"),
        ),
        section("Files", _files(files), id_="files"),
    ])  # fmt: skip


def _nodes(had: Mapping[NodeId, OnNode], known: InStore, world: World, moment: Moment) -> Markup:
    def origin(each: OnNode) -> str:
        parts = (("had", each.node_bytes), ("from nodes", each.peer_bytes), ("from the store", each.mirror_bytes))
        return ", ".join(f"{size(count)} {word}" for word, count in parts if count) or "nothing to fetch"

    rows: list[tuple[Child, ...]] = [
        (
            tag("a", each.node_id, href=moment.link("/events", entity=each.node_id), class_="open"),
            badge(world.fleet.nodes[each.node_id].status) if each.node_id in world.fleet.nodes else None,
            (when(each.at, moment), " ", position_link(moment, each.position)),
            "for a replica" if each.why == "replica" else "fetched ahead",
            dim(origin(each)),
        )
        for each in had.values()
    ]
    rows += [
        (
            tag("a", node.node_id, href=moment.link("/events", entity=node.node_id), class_="open"),
            badge(node.status),
            position_link(moment, node.prefetches[known.manifest_id].position),
            badge("wanted"),
            dim(node.prefetches[known.manifest_id].waits or "on its way"),
        )
        for node in world.fleet.nodes.values()
        if known.manifest_id in node.prefetches
    ]
    return table(("node", "status", "since", "why", "bytes"), rows, "No node has had it yet.")


def _files(files: Sequence[File] | str) -> Markup:
    if isinstance(files, str):
        return notice(f"The files cannot be listed: {files}")
    most = max((each.bytes for each in files), default=0) or 1
    shown = first(files)
    rows = [
        (
            tag("span", each.path, class_="open"),
            (bar(each.bytes / most, f"{size(each.bytes)}"), " ", size(each.bytes)),
            tag("span", each.chunks, class_="number"),
        )
        for each in shown
    ]
    return join((table(("file", "size", "chunks"), rows, "It has no files."), more(files)))


def manifest_link(manifest_id: ManifestId, moment: Moment) -> Markup:
    return tag(
        "a", manifest_id[:SHORT], href=moment.link(weights_path(manifest_id)), class_="id open", title=manifest_id
    )  # fmt: skip


def _deployment(deployment_id: DeploymentId, world: World, moment: Moment) -> Markup:
    return tag("a", world.name(deployment_id), href=moment.link(deployment_path(deployment_id)))


def size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
