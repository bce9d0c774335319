"""The same history with the eventsourcing library on PostgreSQL; run by `ops.bench.peer` in an environment of its own.

    python eventsourcing_peer.py HISTORY SOCKET_FOLDER

HISTORY: lines of JSON, each an aggregate, a type and a body. Prints its figures as one JSON object. The library is used
as its documentation says: events of an application, its notifications in sections, and a fold of what they say.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application  # type: ignore[import-not-found]
from eventsourcing.domain import DomainEvent, datetime_now_with_tzinfo  # type: ignore[import-not-found]

APPENDS, SECTION, ROUNDS = 500, 1000, 2
FILL = 50
"""Events that are put at a time before the reading; of many hundreds its pipeline does not come back."""


class Happened(DomainEvent):  # type: ignore[misc]
    kind: str
    body: dict[str, Any]
    meta: dict[str, Any]


class Plane(Application):  # type: ignore[misc]
    pass


def drafts(file: Path) -> Iterator[Happened]:
    versions: defaultdict[UUID, int] = defaultdict(int)
    with file.open() as lines:
        for line in lines:
            stream, event, meta = json.loads(line)
            aggregate = uuid5(NAMESPACE_URL, stream)
            versions[aggregate] += 1
            yield Happened(
                originator_id=aggregate,
                originator_version=versions[aggregate],
                timestamp=datetime_now_with_tzinfo(),
                kind=event.pop("type"),
                body=event,
                meta=meta,
            )


class Routing:
    """What our routing table is folded from, as plain dicts."""

    def __init__(self) -> None:
        self.replicas: dict[str, dict[str, str]] = {}
        self.models: dict[str, dict[str, str]] = {}

    def evolve(self, event: Any) -> None:
        body = event.body
        match event.kind:
            case "ModelRegistered":
                self.models[body["model_id"]] = {}
            case "DeploymentPushed":
                self.replicas[body["deployment_id"]] = {}
            case "ReplicaReady":
                self.replicas[body["deployment_id"]][body["replica_id"]] = body["address"]
            case "ReplicaDraining" | "ReplicaStopped":
                self.replicas[body["deployment_id"]].pop(body["replica_id"], None)
            case "PromotionCompleted":
                self.models[body["model_id"]][body["environment"]] = body["deployment_id"]


def followed(app: Any, until: int, routing: Routing | None) -> float:
    """Seconds for the notifications from the first one on, decoded, and folded if there is something to fold into."""
    began, after = time.perf_counter(), 0
    while after < until:
        for notification in app.recorder.select_notifications(start=after + 1, limit=SECTION):
            event = app.mapper.to_domain_event(notification)
            after = notification.id
            if routing is not None:
                routing.evolve(event)
            if after >= until:
                break
    return time.perf_counter() - began


def main(history: str, sockets: str) -> None:
    place = {"DBNAME": "postgres", "HOST": sockets, "PORT": "5432", "USER": "postgres", "PASSWORD": "unused"}
    where = {f"POSTGRES_{name}": text for name, text in place.items()}
    app = Plane(env={"PERSISTENCE_MODULE": "eventsourcing.postgres", **where})
    happened = list(drafts(Path(history)))
    began = time.perf_counter()
    for event in happened[:APPENDS]:
        app.events.put([event])
    append_s = (time.perf_counter() - began) / APPENDS
    print(f"appended {APPENDS} one by one", file=sys.stderr)
    for at in range(APPENDS, len(happened), FILL):
        app.events.put(happened[at : at + FILL])
    count = len(happened)
    print(f"appended {count}", file=sys.stderr)
    figures = {
        "append": 1 / append_s,
        "follow": count / min(followed(app, count, None) for _ in range(ROUNDS)),
        "fold": count / min(followed(app, count, Routing()) for _ in range(ROUNDS)),
        "state_s": min(followed(app, count // 2, Routing()) for _ in range(ROUNDS)),
    }
    app.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
