"""The pure part: what is due, for which state, and when."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.effects import (
    AwaitExit,
    Done,
    DrainReplica,
    EffectFailed,
    Exited,
    FetchWeights,
    ForgetReplica,
    Found,
    HealthChecks,
    Prepared,
    PrepareReplica,
    Probed,
    ProbeReplica,
    Result,
    Running,
    StartReplica,
    StopReplica,
    WeightsHere,
    WeightsLack,
)
from agents.reconcile import PATIENCE, Patience, reconcile
from agents.state import Began, Deed, Finished, NodeActual, Surveyed, Tell, Told, evolve, kind
from events.base import CorrelationId, DeploymentId, EventId, ModelId, NodeId, ReplicaId
from events.weights import ManifestId, Mount
from handlers.deciders.replica import ReportFailed, ReportReady, ReportUnready, ReportWeightsLate
from projections.replica_targets import NodeTarget, ReplicaTarget
from tests.agents.node.site import NO_BLOB

R = ReplicaId("r")
WANTED = ReplicaTarget(
    R, ModelId("m"), DeploymentId("d"), NO_BLOB, NO_BLOB, "3.11", 1000, 1 << 30, 1, EventId("e"), CorrelationId("c")
)
DRAINING = replace(WANTED, draining=True, reason="enough")
T0 = datetime(2026, 1, 1, tzinfo=UTC)
PREPARED = Prepared(1.0, False)
RUNNING = Running(7, "10.0.0.1:1", T0)
NOBODY = NodeActual(NodeId("n"), "i")


def after(*results: tuple[Deed, Result | Told], at: datetime = T0) -> NodeActual:
    actual = NOBODY
    for deed, result in results:
        actual = evolve(evolve(actual, Began(deed, at)), Finished(deed, result, at))
    return actual


def due(target: NodeTarget, actual: NodeActual, now: datetime = T0, patience: Patience = PATIENCE) -> tuple[Deed, ...]:
    return tuple(each.deed for each in reconcile(target, actual, patience) if each.at <= now)


def kinds(target: NodeTarget, actual: NodeActual, now: datetime = T0, patience: Patience = PATIENCE) -> list[str]:
    return sorted(kind(deed) for deed in due(target, actual, now, patience))


def due_at(target: NodeTarget, actual: NodeActual, deed: type, patience: Patience = PATIENCE) -> datetime:
    (found,) = (each.at for each in reconcile(target, actual, patience) if isinstance(each.deed, deed))
    return found


STARTED = ((PrepareReplica(WANTED), PREPARED), (StartReplica(WANTED), RUNNING))
READY = (*STARTED, (ProbeReplica(R), Probed("ready")))


def test_a_replica_goes_one_step_at_a_time() -> None:
    target = {R: WANTED}
    assert kinds(target, NOBODY) == ["PrepareReplica"]
    assert kinds(target, after(STARTED[0])) == ["StartReplica", "Tell"]
    assert kinds(target, after(*STARTED)) == ["AwaitExit", "ProbeReplica", "Tell"]


HEAVY = replace(WANTED, weights=(Mount(ManifestId("0" * 64), "/weights"),))
HERE = WeightsHere(2.0, 0, 0, 1 << 20)


def test_weights_are_fetched_beside_the_environment_and_both_are_waited_for() -> None:
    target = {R: HEAVY}
    prepared, fetched = (PrepareReplica(HEAVY), PREPARED), (FetchWeights(HEAVY), HERE)
    assert kinds(target, NOBODY) == ["FetchWeights", "PrepareReplica"]
    assert kinds(target, after(prepared)) == ["FetchWeights", "Tell"]
    assert kinds(target, after(fetched)) == ["PrepareReplica"]
    assert kinds(target, after(prepared, fetched)) == ["StartReplica", "Tell"]


def test_weights_that_lack_are_told_once_a_cause_and_tried_again_for_as_long_as_they_are_wanted() -> None:
    lack = (FetchWeights(HEAVY), WeightsLack("mirror", "out of reach"))
    pauses = [(due_at({R: HEAVY}, after(*[lack] * count), FetchWeights) - T0).total_seconds() for count in range(1, 30)]
    assert pauses[:3] == [1, 2, 4] and pauses[-1] == PATIENCE.weights_again_slowest_s
    actual = after((PrepareReplica(HEAVY), PREPARED), *[lack] * 9)
    told = [deed.command for deed in due({R: HEAVY}, evolve_told(actual, "prepared"), T0) if isinstance(deed, Tell)]
    assert [(type(each), each.reason) for each in told if isinstance(each, ReportWeightsLate)] == [
        (ReportWeightsLate, "out of reach")
    ]
    assert kinds({R: HEAVY}, evolve_told(actual, "prepared", "weights-late-mirror")) == []
    assert kinds({R: replace(HEAVY, draining=True, reason="enough")}, actual) == ["Tell"]


def test_weights_that_nobody_has_end_it() -> None:
    actual = after((PrepareReplica(HEAVY), PREPARED), (FetchWeights(HEAVY), WeightsLack("missing", "no manifest")))
    (deed,) = due({R: HEAVY}, evolve_told(actual, "prepared"), T0 + timedelta(days=1))
    assert isinstance(deed, Tell) and isinstance(deed.command, ReportFailed)
    assert (deed.command.stage, deed.command.reason) == ("weights", "no manifest")


def evolve_told(actual: NodeActual, *facts: str) -> NodeActual:
    replica = actual.replicas[R]
    return replace(actual, replicas={R: replace(replica, told=frozenset(facts))})


def test_what_is_in_flight_is_not_begun_again() -> None:
    actual = evolve(NOBODY, Began(PrepareReplica(WANTED), T0))
    assert kinds({R: WANTED}, actual, T0 + timedelta(days=1)) == []


def test_probes_begin_quickly_and_slow_down() -> None:
    patience, actual, gaps = PATIENCE, after(*STARTED), []
    for _ in range(500):
        actual = evolve(actual, Finished(ProbeReplica(R), Probed("unready"), T0))
        gaps.append((due_at({R: WANTED}, actual, ProbeReplica) - T0).total_seconds())
    assert gaps == sorted(gaps) and gaps[0] < 0.1 and gaps[-1] == patience.probe_slowest_s
    actual = evolve(actual, Finished(ProbeReplica(R), Probed("ready"), T0))
    assert due_at({R: WANTED}, actual, ProbeReplica) == T0 + timedelta(seconds=patience.probe_every_s)


def test_a_models_own_thresholds_win() -> None:
    own = Prepared(1.0, False, HealthChecks(startup_s=10, stop_traffic_s=20, restart_s=30))
    starting = after((PrepareReplica(WANTED), own), STARTED[1])
    assert due_at({R: WANTED}, starting, StopReplica) == T0 + timedelta(seconds=10)
    failing = after((PrepareReplica(WANTED), own), *READY[1:], (ProbeReplica(R), Probed("silent", "no answer")))
    assert due_at({R: WANTED}, failing, StopReplica) == T0 + timedelta(seconds=30)


def test_a_replica_that_loads_and_prints_is_given_more_time_and_one_that_falls_silent_is_not() -> None:
    actual, startup = after(*STARTED), timedelta(seconds=PATIENCE.startup_s)
    assert due_at({R: WANTED}, actual, StopReplica) == T0 + startup
    for minutes, printed in ((10, 100), (25, 200), (28, 200)):
        probed = Probed("unready", "503", output_bytes=printed)
        actual = evolve(actual, Finished(ProbeReplica(R), probed, T0 + timedelta(minutes=minutes)))
    assert due_at({R: WANTED}, actual, StopReplica) == T0 + timedelta(minutes=25) + startup


@pytest.mark.parametrize(("since_s", "report"), [(0, ReportReady), (59, ReportReady), (61, ReportUnready)])
def test_a_failing_probe_must_last_before_traffic_stops(since_s: int, report: type) -> None:
    actual = after(*READY, (ProbeReplica(R), Probed("unready", "503 sick")))
    later = T0 + timedelta(seconds=since_s)
    actual = evolve(actual, Finished(ProbeReplica(R), Probed("unready", "503 sick"), later))
    told = frozenset({"prepared", "started"})
    actual = replace(actual, replicas={R: replace(actual.replicas[R], told=told)})
    (tell,) = (deed for deed in due({R: WANTED}, actual, later) if isinstance(deed, Tell))
    assert isinstance(tell.command, report)


def test_a_lost_port_is_tried_again_and_not_for_ever() -> None:
    actual, patience = after(STARTED[0]), PATIENCE
    for _ in range(patience.start_attempts):
        assert "StartReplica" in kinds({R: WANTED}, actual)
        for deed, result in ((StartReplica(WANTED), RUNNING), (AwaitExit(R), Exited(1, "in use", port_taken=True))):
            actual = evolve(actual, Finished(deed, result, T0))
    actual = replace(actual, replicas={R: replace(actual.replicas[R], told=frozenset({"prepared"}))})
    (tell,) = due({R: WANTED}, actual, T0)
    assert isinstance(tell, Tell) and isinstance(tell.command, ReportFailed) and tell.command.stage == "start"


def test_a_preparation_that_may_succeed_is_tried_again_later() -> None:
    actual = after((PrepareReplica(WANTED), EffectFailed("index away", again=True)))
    assert due_at({R: WANTED}, actual, PrepareReplica) == T0 + timedelta(seconds=PATIENCE.prepare_again_s)


def test_draining_gives_grace_then_the_deadline() -> None:
    actual, patience = after(*READY), PATIENCE
    assert "DrainReplica" in kinds({R: DRAINING}, actual) and "ProbeReplica" not in kinds({R: DRAINING}, actual)
    drain = DrainReplica(R, patience.grace_s, "enough")
    actual = evolve(evolve(actual, Began(drain, T0)), Finished(drain, Done(), T0))
    deadline = timedelta(seconds=patience.grace_s + patience.drain_deadline_s)
    assert due_at({R: DRAINING}, actual, StopReplica) == T0 + deadline


def test_what_nobody_wants_is_drained_then_forgotten_and_never_told() -> None:
    found = Found(R, DeploymentId("d"), PREPARED, RUNNING, True)
    actual = evolve(NOBODY, Surveyed((found,), T0))
    assert kinds({}, actual) == ["AwaitExit", "DrainReplica"]
    drain = DrainReplica(R, 1.0, "unwanted")
    for stimulus in (
        Began(drain, T0),
        Finished(drain, Done(), T0),
        Finished(AwaitExit(R), Exited(143, "ended"), T0),
    ):
        actual = evolve(actual, stimulus)
    (forget,) = due({}, actual, T0)
    assert forget == ForgetReplica(R, DeploymentId("d"))
    busy = evolve(evolve(actual, Began(forget, T0)), Finished(forget, EffectFailed("in use", again=True), T0))
    assert due({}, busy, T0) == ()
    assert due({}, busy, T0 + timedelta(seconds=PATIENCE.prepare_again_s)) == (forget,)
    assert evolve(actual, Finished(forget, Done(), T0)).replicas == {}


def test_an_ended_replica_is_never_started_again() -> None:
    actual = after(*READY, (AwaitExit(R), Exited(1, "crashed")))
    assert kinds({R: WANTED}, actual, T0 + timedelta(days=9)) == ["Tell"]


def test_a_fact_is_told_until_acknowledged_ever_more_slowly() -> None:
    actual, patience = after(STARTED[0]), PATIENCE
    gaps, last = [], Finished(AwaitExit(R), Done(), T0)
    for _ in range(8):
        (tell,) = (each.deed for each in reconcile({R: WANTED}, actual) if isinstance(each.deed, Tell))
        actual = evolve(evolve(actual, Began(tell, T0)), Finished(tell, Told(acknowledged=False), T0))
        gaps.append((due_at({R: WANTED}, actual, Tell) - T0).total_seconds())
        last = Finished(tell, Told(acknowledged=True), T0)
    assert gaps == sorted(gaps) and gaps[-1] == patience.tell_again_slowest_s
    actual = evolve(actual, last)
    assert not [each for each in reconcile({R: WANTED}, actual) if isinstance(each.deed, Tell)]


def results_of(deed: Deed) -> st.SearchStrategy[Result | Told]:
    match deed:
        case Tell():
            return st.builds(Told, st.booleans())
        case PrepareReplica():
            return st.one_of(st.just(PREPARED), st.builds(EffectFailed, st.just("why"), st.booleans()))
        case StartReplica():
            return st.one_of(st.just(RUNNING), st.just(EffectFailed("why")))
        case AwaitExit():
            return st.builds(Exited, st.sampled_from([None, 0, 137]), st.just("why"), st.booleans())
        case ProbeReplica():
            return st.builds(Probed, st.sampled_from(["ready", "unready", "silent"]))
        case _:
            return st.just(Done())


def success_of(deed: Deed) -> Result | Told:
    match deed:
        case Tell():
            return Told(acknowledged=True)
        case PrepareReplica():
            return PREPARED
        case StartReplica():
            return RUNNING
        case AwaitExit():
            return Exited(0, "ended")
        case _:
            return Done()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_happens_a_replica_runs_once_and_ends_cleared_away(data: st.DataObject) -> None:
    """Random results in random order; then the target goes, and everything that is due succeeds."""
    actual, now, target, starts = NOBODY, T0, {R: WANTED}, 0
    in_flight: list[Deed] = []
    for _ in range(data.draw(st.integers(0, 25))):
        now += timedelta(seconds=data.draw(st.sampled_from([0, 1, 100, 2000])))
        if data.draw(st.integers(0, 8)) == 0:
            target = {R: DRAINING}
        for deed in due(target, actual, now):
            assert kind(deed) not in [kind(each) for each in in_flight]
            actual = evolve(actual, Began(deed, now))
            in_flight.append(deed)
        if in_flight:
            deed = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
            result = data.draw(results_of(deed))
            clash = isinstance(result, Exited) and result.port_taken
            starts += isinstance(result, Running)
            actual = evolve(actual, Finished(deed, result, now))
            starts -= clash and actual.replicas[R].process is None
            assert starts <= 1
    for _ in range(40):
        now += timedelta(hours=2)
        for deed in due({}, actual, now):
            assert not isinstance(deed, PrepareReplica | StartReplica | Tell)
            actual = evolve(actual, Began(deed, now))
            in_flight.append(deed)
        while in_flight:
            deed = in_flight.pop(0)
            actual = evolve(actual, Finished(deed, success_of(deed), now))
    assert actual.replicas == {}
