"""A history with a bug in it, frozen as a capsule: a promotion that switched before its candidate was ready.

The promote reactor of that day counted a replica as ready when its process had started. For half a minute
`iris/production` pointed to a deployment without a ready replica. ops/docs/debugging.md finds out, step by step.
"""

from datetime import timedelta
from pathlib import Path

from events.base import DeploymentId, Position
from events.codec import Recorded, event_type
from events.environment import PromotionStarted
from handlers.base import cause, caused_by
from handlers.deciders.promotion_commands import CompletePromotion
from handlers.deciders.replica import ReportEnvironmentReady, ReportProcessStarted, ReportReady
from ops.capsule.export import export
from ops.capsule.file import CapsuleBroken, read
from tests.histories import Plane, history

FILE = Path(__file__).with_name("planted.capsule")
OUTAGE_S = 30.0


async def planted() -> Plane:
    """Two models in peace, a new version of one of them, the early switch, and half a minute until it is ready."""
    async with history() as plane:
        await plane.issue_key("ada")
        await plane.join()
        first = await plane.push("iris")
        await plane.build(first)
        await plane.bring_ready(first)
        other = await plane.push("minilm")
        await plane.build(other)
        await plane.bring_ready(other)
        plane.tick(300)
        second = await plane.push("iris", environment="production")
        await plane.build(second)
        await _switch_too_early(plane, second)
        third = await plane.push("minilm")
        await plane.build(third, failure="no matching distribution found for numpy==9.9")
        return plane


async def _switch_too_early(plane: Plane, candidate: DeploymentId) -> None:
    (replica_id,) = plane.replicas(candidate)
    address = "127.0.0.1:40077"
    await plane.do(ReportEnvironmentReady(**plane.reported(), replica_id=replica_id, seconds=0.5, reused=False))
    await plane.do(ReportProcessStarted(**plane.reported(), replica_id=replica_id, pid=7171, address=address))
    started = await _last_of(plane, "PromotionStarted")
    assert isinstance(started.event, PromotionStarted)
    await plane.do(
        CompletePromotion(
            **caused_by(cause(started), "promote", "complete"),
            model_id=started.event.model_id,
            environment=started.event.environment,
            promotion_id=started.event.promotion_id,
        )
    )
    await plane.stop_drained()
    plane.tick(OUTAGE_S)
    await plane.do(ReportReady(**plane.reported(), replica_id=replica_id, address=address, seconds=31.5))


async def _last_of(plane: Plane, kind: str) -> Recorded:
    return [each for each in await plane.log.read() if event_type(each.event) == kind][-1]


async def freeze_planted(file: Path = FILE) -> bool:
    """Whether it had to be made. One that can be read stays; none can be, while an event that never shipped changes."""
    try:
        read(file)
    except CapsuleBroken:
        pass
    else:
        return False
    plane = await planted()
    await export(plane.log, Position(0), await plane.head(), file, plane.clock.now() + timedelta(hours=1))
    return True
