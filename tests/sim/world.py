"""The simulated world: the real code of every process, wired with twins, on virtual time, from one seed.

Two control processes (one usually asleep), three nodes, two builders, two gateways, two API processes, and the people
and callers outside. The world knows what happened (`story`), and the first thing that went wrong (`failure`).
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from random import Random
from typing import Any

from events.base import Actor, CommandId, CorrelationId, DeploymentId, ModelId, Position, derive
from events.codec import Recorded
from events.log import LogUnavailable
from gateway.addresses import Target
from gateway.keys import hash_of
from handlers.base import Command, Refused
from handlers.deciders.access import IssueKey
from handlers.deciders.model import model_id_of
from handlers.dispatch import Contended, Outcome
from projections.describe import describe, title
from tests.faults import NONE, Faults
from tests.sim.checkers import EVERY
from tests.sim.checkers.answers import AnswersAreByWhatWasAskedFor
from tests.sim.checkers.base import Violation
from tests.sim.checkers.capacity import NoNodeAboveCapacity
from tests.sim.gateway import KEY, KEY_ID, CallRecord, GatewayProcess
from tests.sim.loop import SimLoop
from tests.sim.machines import BuilderProcess, NodeProcess, Scripts
from tests.sim.network import SimNetwork
from tests.sim.processes import ApiProcess, ControlProcess, Down, Process, SharedArchive
from tests.sim.watched import WatchedLog
from tests.sim.wire import Machine, Manner, SimWire

USUAL = Faults(unavailable=0.02, request_lost=0.02, request_late=0.03, answer_lost=0.05, longest_delay_s=0.02)
TEAM = "default"
NAMES = ("iris", "minilm", "counter")
PATIENCE_S = 120.0
"""A person sends a command again for this long."""


class World:
    def __init__(self, seed: int, loop: SimLoop) -> None:
        self.seed, self.loop = seed, loop
        self.failure: BaseException | None = None
        self.story: deque[str] = deque(maxlen=4000)
        self.answers = AnswersAreByWhatWasAskedFor()
        self.capacity = NoNodeAboveCapacity()
        self.checkers = (*(kind() for kind in EVERY), self.answers, self.capacity)
        self.log = WatchedLog(self.checkers, self._tell_event, self.fail)
        self.archive = SharedArchive()
        self.log_faults = USUAL
        self.network = SimNetwork(self.dice("network"))
        self.scripts = Scripts(seed, self.dice("scripts"))
        self.calls: list[CallRecord] = []
        self.manners: dict[DeploymentId, Manner] = {}
        """How deployments answer that do not answer as usual."""
        self.acknowledged: list[tuple[Command, Outcome]] = []
        self._asked = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}
        loop.set_exception_handler(self._stray)
        loop.connect = SimWire(self.dice("wire"), self._machine_at, self._manner_of, self.fail).connect

        self.control = tuple(ControlProcess(self, f"control-{n}") for n in range(2))
        self.nodes = tuple(NodeProcess(self, n) for n in range(3))
        self.builders = tuple(BuilderProcess(self, f"builder-{n}") for n in range(2))
        self.gateways = tuple(GatewayProcess(self, f"gateway-{n}") for n in range(2))
        self.apis = tuple(ApiProcess(self, f"api-{n}") for n in range(2))

    @property
    def processes(self) -> tuple[Process, ...]:
        return (*self.control, *self.nodes, *self.builders, *self.gateways, *self.apis)

    @property
    def models(self) -> tuple[ModelId, ...]:
        return tuple(model_id_of(TEAM, name) for name in NAMES)

    def dice(self, name: str) -> Random:
        """A source of chance of its own for each part, so that one more draw here changes nothing there."""
        return Random(f"{self.seed} {name}")

    def start(self) -> None:
        for process in self.processes:
            if process is not self.control[1]:
                process.start()
        key = IssueKey(**self.identity(), key_id=KEY_ID, name="callers", hash=hash_of(KEY), scopes=("invoke",))
        self.ask(key)

    # What happens

    def tell(self, what: str) -> None:
        self.story.append(f"{self.loop.time():8.2f} s  {what}")

    def _tell_event(self, recorded: Recorded) -> None:
        who = recorded.meta.actor.name
        what = f"{title(recorded.event)}: {describe(recorded.event)}"
        self.story.append(f"{self.loop.time():8.2f} s  {recorded.position:5} {recorded.stream!s:34} {what} [{who}]")

    def fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self.tell(f"FAILED: {error}")

    def check(self) -> None:
        """Raises the first failure."""
        if self.failure is not None:
            raise self.failure

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task whose failure is the run's."""
        task = self.loop.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def _stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.fail(context.get("exception") or Violation(str(context.get("message"))))

    # What people and callers do

    def identity(self, actor: str = "operator") -> dict[str, Any]:
        self._asked += 1
        name = derive("sim", self.seed, self._asked, length=24)
        return {"id": CommandId(name), "correlation_id": CorrelationId(name), "actor": Actor(actor, "sim")}

    def ask(self, command: Command, *through: ApiProcess) -> None:
        """Somebody sends it, again and again until there is an answer; perhaps through several processes at once."""
        self.tell(f"asked: {type(command).__name__} {_fields(command)}")
        for api in through or (self._any_api(command),):
            self.spawn(self._ask(command, api), f"asking {type(command).__name__}")

    def _any_api(self, command: Command) -> ApiProcess:
        return Random(command.id).choice(self.apis)

    async def _ask(self, command: Command, first: ApiProcess) -> None:
        until, api = self.loop.time() + PATIENCE_S, first
        while self.loop.time() < until:
            try:
                outcome = await api.carry_out(command)
            except Refused:
                return
            except (Contended, LogUnavailable, Down):
                await asyncio.sleep(0.5)
                api = self.apis[(self.apis.index(api) + 1) % len(self.apis)]
            else:
                self.acknowledged.append((command, outcome))
                return

    def call(self, target: Target, seconds: float, gateway: GatewayProcess) -> None:
        record = CallRecord(len(self.calls) + 1, target)
        self.calls.append(record)
        self.tell(f"call {record.number} for {target} of {target.model_id} at {gateway.name}, {seconds:.1f} s")
        gateway.call(record, seconds)

    def call_ended(self, record: CallRecord, ended: str, why: str) -> None:
        record.ended, record.why = ended, why
        by = f" by {record.replica_id}, routed at {record.routed_at}" if record.replica_id else ""
        self.tell(f"call {record.number} {ended}{by} {why}")
        if ended == "answered":
            try:
                self.answers.answered(record)
            except Violation as error:
                self.fail(error)

    def _machine_at(self, host: str) -> Machine:
        node = next(each for each in self.nodes if each.host == host)
        return Machine(node.effects, lambda: node.powered)

    def _manner_of(self, deployment_id: DeploymentId) -> Manner:
        return self.manners.get(deployment_id, Manner())

    # The end of all faults

    def calm(self) -> None:
        self.tell("all faults end")
        self.scripts.faults = False
        self.log_faults = NONE
        self.network.calm()
        for process in self.processes:
            process.clock.skew_s = 0.0
            process.log.faults = NONE
            process.log.mend()
        for node in self.nodes:
            node.boot_up()
            for replica in node.effects.processes.values():
                replica.hung = False
        for process in self.processes:
            if process is not self.control[1] and not (isinstance(process, NodeProcess) and process.destroyed):
                process.start()

    @property
    def position(self) -> Position:
        return self.log.last

    def deployments(self, model_id: ModelId) -> list[DeploymentId]:
        """As an API process that is up sees them, oldest first."""
        for api in self.apis:
            if api.open:
                model = api.catalogue.models.get(model_id)
                return list(model.deployments) if model is not None else []
        return []


def _fields(command: Command) -> str:
    shown = ("deployment_id", "model_name", "environment", "model_id", "settings", "name")
    return " ".join(f"{name}={getattr(command, name)}" for name in shown if getattr(command, name, None))
