"""What the gateway tells of answers: only of deployments that a promotion compares, and each answer once."""

import asyncio

from events.base import DeploymentId, ModelId
from events.signals import Answers, Signal
from events.signals.memory import MemorySignals
from gateway.insight.answers import AnswersTold, compared
from gateway.insight.trip import CLIENT_CLOSED
from projections.routing import ROUTING, Candidate, ModelRoutes, RoutingTable
from projections.view import View
from tests.gateway.insight.trips import trip

D, E = DeploymentId("d1"), DeploymentId("e1")


def table(candidate: Candidate | None) -> RoutingTable:
    model = ModelRoutes(ModelId("m1"), "iris", {"production": D}, None, {D, E})
    if candidate is not None:
        model.candidates["production"] = candidate
    return RoutingTable({model.model_id: model})


def test_only_a_candidate_with_a_share_that_is_to_be_judged_is_compared() -> None:
    assert set(compared(table(Candidate(E, 10, promoted=True, compared=True)))) == {D, E}
    for candidate in (None, Candidate(E, 0, promoted=True, compared=True), Candidate(E, 10, promoted=True)):
        assert set(compared(table(candidate))) == set()


async def test_answers_are_told_once_and_the_waiting_for_a_replica_is_no_part_of_them() -> None:
    view, signals, heard = View(ROUTING), MemorySignals(), list[Signal]()

    async def listen() -> None:
        async for signal in signals.listen():
            heard.append(signal)

    listening = asyncio.create_task(listen())
    view.state = table(Candidate(E, 10, promoted=True, compared=True))
    told = AnswersTold(view, signals, "w", every_s=0.01)
    for each in (
        trip(deployment_id=E, began=0.0, parked_s=5.0, ended=5.25),
        trip(deployment_id=E, status=502, began=0.0, ended=0.25),
        trip(deployment_id=E, status=CLIENT_CLOSED),
        trip(deployment_id=DeploymentId("another")),
    ):
        told.add(each)
    told.failed(E)
    told.failed(DeploymentId("another"))
    async with asyncio.timeout(10):
        while not heard:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    (answers,) = heard
    assert isinstance(answers, Answers)
    assert (answers.deployment_id, answers.requests, answers.errors) == (E, 3, 2), (
        "an attempt that failed counts, whoever answered in the end"
    )
    assert [each.count for each in answers.durations] == [2]
    await told.close()
    listening.cancel()
