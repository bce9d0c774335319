"""A whole local stack for tests, and the hands that a user has on it: HTTP, the stock truss client, `causeway`.

Everything is real: broker, database, builder, node, sandbox, model servers. A test asks and waits for conditions;
it never looks inside a process. `processes_of` finds whatever a stack left behind.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from events.codec import Recorded
from events.log import Log
from events.replica import ReplicaProcessStarted
from ops import config, operator_key, replay, wiring
from ops.config import CHECKOUT, Settings
from ops.local import attach
from ops.truss_client import truss_command
from projections.fleet import FLEET
from tests.nats import free_port

EXAMPLES = CHECKOUT / "examples"
GENEROUS_S = 240.0
SETTLED = ("ACTIVE", "SCALED_TO_ZERO", "INACTIVE", "BUILD_FAILED", "BUILD_STOPPED", "DEPLOY_FAILED", "FAILED")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """All of it on one line: a terminal wraps where it likes."""
        return " ".join((self.out + " " + self.err).split())

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """Of commands that print one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Pushed:
    model_id: str
    deployment_id: str

    @property
    def production(self) -> str:
        return f"/model-{self.model_id}/production"

    @property
    def own(self) -> str:
        return f"/model-{self.model_id}/deployment/{self.deployment_id}"

    @property
    def resource(self) -> str:
        return f"/v1/models/{self.model_id}/deployments/{self.deployment_id}"


@dataclass
class Plane:
    settings: Settings
    url: str
    home: Path
    """HOME of every command line, so that none reads or writes the user's."""
    key: str = field(repr=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def environ(self) -> dict[str, str]:
        """Of a user's shell: what the stack inherited, with a home of its own."""
        return dict(self.settings.inherited_env) | {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home)}

    def http(self, key: str | None = None, timeout_s: float = GENEROUS_S) -> httpx.AsyncClient:
        """A caller with the operator's key, or with another; an empty one sends none."""
        presented = self.key if key is None else key
        headers = {"Authorization": f"Api-Key {presented}"} if presented else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False)

    async def causeway(self, *argv: str, stdin: str = "") -> Said:
        environ = self.environ | {"CAUSEWAY_STATE": str(self.settings.state), "COLUMNS": "200"}
        return await program(sys.executable, "-m", "ops.cli", *argv, environ=environ, stdin=stdin)

    async def truss(self, *argv: str, key: str | None = None) -> Said:
        """The stock client by `causeway truss`'s own launcher."""
        command, environ = truss_command(
            self.url,
            self.key if key is None else key,
            argv,
            toolchain=self.settings.truss_venv,
            trussrc=self.home / f"trussrc-{abs(hash(key))}",
            environ=self.environ | {"COLUMNS": "200"},
        )
        return await program(*command, environ=environ)

    async def push(self, folder: Path, *flags: str) -> Pushed:
        """Pushed by the stock client; what becomes of it is the caller's to wait for."""
        said = await self.truss("push", str(folder), "--non-interactive", "--output", "json", *flags)
        assert said.code == 0, said
        return Pushed(said.json["model_id"], said.json["model_version_id"])

    async def active(self, folder: Path, *flags: str) -> Pushed:
        pushed = await self.push(folder, *flags)
        await self.reaches(pushed, "ACTIVE")
        return pushed

    async def deployment(self, pushed: Pushed) -> dict[str, Any]:
        async with self.http() as http:
            answer = await http.get(pushed.resource)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def reaches(self, pushed: Pushed, *statuses: str) -> dict[str, Any]:
        """Waits for one of the statuses; a deployment that ended otherwise fails the test with its reason."""

        async def there() -> dict[str, Any] | None:
            shown = await self.deployment(pushed)
            if shown["status"] in statuses:
                return shown
            failed = shown["status"].endswith(("FAILED", "STOPPED"))
            assert not failed, f"wanted {statuses}, got {shown['status']}: {shown['reason']}"
            return None

        return await until(there, f"{pushed.deployment_id} is {' or '.join(statuses)}")

    async def configure(self, pushed: Pushed, **autoscaling: int) -> None:
        """Autoscaling settings of the deployment's production environment."""
        path = f"/v1/models/{pushed.model_id}/environments/production"
        async with self.http() as http:
            answer = await http.patch(path, json={"autoscaling_settings": autoscaling})
        assert answer.status_code == 200, answer.text

    async def retire(self) -> None:
        """Deactivates all that runs or could start, and waits until no replica is left."""
        async with self.http() as http:
            for model in (await http.get("/v1/models")).json()["models"]:
                for each in (await http.get(f"/v1/models/{model['id']}/deployments")).json()["deployments"]:
                    if each["status"] not in SETTLED[2:]:
                        await http.post(f"/v1/models/{model['id']}/deployments/{each['id']}/deactivate?force=true")
        await until(self._no_replica, "every replica has ended")

    async def _no_replica(self) -> bool:
        return not await self.replicas()

    async def replicas(self) -> dict[str, int]:
        """Replicas that the log says live, and the pids of those that have a process."""
        async with self.log() as log:
            fleet = await replay.state_at(log, FLEET)
        started = [each.event for each in await self.events("ReplicaProcessStarted")]
        pids = {e.replica_id: e.pid for e in started if isinstance(e, ReplicaProcessStarted)}
        return {str(each): pids.get(each, 0) for each in fleet.replicas}

    async def state(self, view: str, at: str = "now") -> dict[str, Any]:
        said = await self.causeway("state", view, "--at", at, "--output", "json")
        assert said.code == 0, said
        shown: dict[str, Any] = said.json
        return shown

    async def assert_audit_equals_log(self) -> None:
        """Row by row, once the trail has caught up with what the log holds now."""
        head = (await self.events())[-1].position

        async def caught_up() -> bool:
            return bool(((await self.causeway("status", "-o", "json")).json["audit_position"] or 0) >= head)

        await until(caught_up, f"the audit trail has reached {head}")
        everything = ("--after", "0", "--limit", "100000", "--output", "json")
        rows, events = await asyncio.gather(self.causeway("audit", *everything), self.causeway("events", *everything))
        assert [each["position"] for each in rows.rows[:head]] == list(range(1, head + 1))
        assert rows.rows[:head] == events.rows[:head]

    def restart(self) -> None:
        """After it was killed or stopped: up again, at another address perhaps."""
        self.url = attach.start_detached(self.settings).url

    @asynccontextmanager
    async def log(self) -> AsyncIterator[Log]:
        async with wiring.open_log(attach.attached(self.settings)) as log:
            yield log

    async def events(self, *types: str, after: int = 0) -> list[Recorded]:
        """From the log itself, of the named types or of all."""
        async with self.log() as log:
            recorded = await log.read()
        return [
            each for each in recorded if each.position > after and (not types or type(each.event).__name__ in types)
        ]


async def program(*argv: str, environ: Mapping[str, str], stdin: str = "", deadline_s: float = GENEROUS_S) -> Said:
    """Runs to its end; a program that does not end is killed, and the test fails."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environ, cwd=CHECKOUT)
    try:
        async with asyncio.timeout(deadline_s):
            out, err = await child.communicate(stdin.encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return Said(child.returncode, out.decode(), err.decode())


async def until(ask: Callable[[], Awaitable[Found | None]], meaning: str, deadline_s: float = GENEROUS_S) -> Found:
    """The first true answer; fails with the meaning when there is none for a very long time."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if answer := await ask():
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"never happened: {meaning}")


def start(state: Path, home: Path) -> Plane:
    """A stack on a free port, up and ready. Of the test run's own CAUSEWAY_* variables only the cache counts."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CAUSEWAY_")}
    own |= {"CAUSEWAY_STATE": str(state), "CAUSEWAY_PORT": "0", "CAUSEWAY_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    own["HF_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"  # Where a test may put a hub.
    settings = config.load(own).but(cache=config.load().cache)
    home.mkdir(parents=True, exist_ok=True)
    running = attach.start_detached(settings)
    return Plane(settings, running.url, home, _operators_key(settings))


def _operators_key(settings: Settings) -> str:
    """Made as `causeway up` makes it on the first start."""

    async def ensured() -> str:
        async with wiring.open_log(attach.attached(settings)) as log:
            key, _ = await operator_key.ensured(log, settings.folder("run"))
            return key

    return asyncio.run(ensured())


def processes_of(state: Path) -> Iterator[str]:
    """Every process that names this folder in its command line or its environment."""
    marks = (str(state), str(state.resolve()))
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(mark in word for mark in marks for word in words):
            yield f"{process.pid} {' '.join(words[:8])}"


def tails(state: Path, lines: int = 25) -> Iterator[tuple[str, str]]:
    """The last lines of every role's log."""
    for file in sorted((state / "logs").glob("*.log")):
        yield file.name, "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
