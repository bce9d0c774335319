"""The real runtime with truss's real model server, as a process and in bubblewrap."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from agents.effects import Probed
from agents.effects.end_all import end_all
from agents.effects.keeper import server_of
from agents.effects.limits import find_limits
from agents.effects.replica_folder import ReplicaFolder
from agents.effects.runtime import NEW_WITHIN_S, LocalRuntime
from agents.effects.sandbox import Sandbox
from agents.state import Finished
from events.base import DeploymentId
from events.log.memory import MemoryLog
from events.replica import ReplicaFailed, ReplicaReady, ReplicaStopped, ReplicaUnready, ReplicaWeightsReady
from events.signals.log_lines import LogFiles
from events.weights import Mount
from projections.stores.blobs import FolderBlobs
from projections.stores.objects import FolderObjects
from tests.agents.node.bundles import Template, runtime
from tests.agents.node.site import R1, Site, eventually
from tests.agents.weights.goods import mirrored

ECHO = """
import os, time
from pathlib import Path

class Model:
    def __init__(self, secrets):
        self.secrets = secrets

    def load(self):
        print("loading the model, in plain words")

    def predict(self, inputs):
        ask = inputs["ask"]
        if ask == "sleep":
            Path("slow").touch()
            time.sleep(inputs["seconds"])
            return "slept"
        if ask == "token":
            return self.secrets["token"]
        if ask == "surroundings":
            import bundled
            return {
                "variables": dict(os.environ), "cwd": os.getcwd(), "bundled": str(bundled.where),
                "home": str(Path.home()),
                "secret_files": [p.name for p in Path("/secrets").glob("*")],
                "sees": [path for path in inputs["paths"] if os.path.exists(path)],
            }
        if ask == "write":
            Path("data", "note").write_text("x")
            (Path.home() / "note").write_text("x")
            return "written"
        if ask == "die":
            os.kill(os.getpid(), 11)
        if ask == "eat":
            eaten = []
            while True:
                eaten.append(b"x" * (16 << 20))
        return inputs
"""


class Served:
    """A ready replica."""

    def __init__(self, site: Site, address: str, state: Path) -> None:
        self.site, self.address, self.state = site, address, state
        self.folder = ReplicaFolder(state / "replicas" / R1)

    async def predict(self, **inputs: Any) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{self.address}/v1/models/model:predict", json=inputs) as answer,
        ):
            text = await answer.text()
            assert answer.status == 200, text
            return json.loads(text)

    def said(self) -> list[str]:
        lines = LogFiles(self.state / "logs").query(DeploymentId("d-1"), source=R1, newest_first=False)
        return [line.message for line in lines]


@pytest.fixture
def assign(truss_template: Template, tmp_path: Path) -> Callable[..., Awaitable[None]]:
    async def assign(
        site: Site, model: str = ECHO, memory_bytes: int = 1 << 30, weights: tuple[Mount, ...] = (), **facts: Any
    ) -> None:
        bundle, environment = await truss_template.put(FolderBlobs(tmp_path / "blobs"), model, **facts)
        await site.assign(bundle=bundle, environment=environment, memory_bytes=memory_bytes, weights=weights)

    return assign


Assign = Callable[..., Awaitable[None]]


async def served(site: Site, state: Path) -> Served:
    return Served(site, (await site.until(ReplicaReady)).address, state)


READS = """
import json, os
from pathlib import Path

class Model:
    def load(self):
        self.text = {place: Path(folder, "a/words").read_text() for place, folder in places().items()}

    def predict(self, inputs):
        try:
            Path("/app/data/weights/a/words").write_text("x")
            written = True
        except OSError:
            written = False
        relative = Path("data/weights/a/words").read_text()
        there = os.path.exists("/models/x/a/words")
        return {"text": self.text, "relative": relative, "written": written, "there": there}

def places():
    return json.loads(os.environ["CAUSEWAY_WEIGHTS"])
"""


async def test_a_model_finds_its_weights_where_it_mounts_them(
    machine: LocalRuntime, assign: Assign, tmp_path: Path, sandbox: Sandbox
) -> None:
    store = FolderObjects(tmp_path / "blobs")
    first = await mirrored(store, {"a/words": b"first", "big": os.urandom(3 << 20)})
    second = await mirrored(store, {"a/words": b"second"})
    async with Site(MemoryLog(), machine).running() as site:
        await assign(site, READS, weights=(Mount(first, "/models/x"), Mount(second, "/app/data/weights")))
        model = await served(site, tmp_path)
        inside = sandbox.bubblewrap is not None
        assert await model.predict() == {
            "text": {"/models/x": "first", "/app/data/weights": "second"},
            "relative": "second",
            "written": False,
            "there": inside,
        }
        weights = await site.until(ReplicaWeightsReady)
        assert (weights.node_bytes, weights.peer_bytes, weights.mirror_bytes) == (0, 0, 11 + (3 << 20))
        assert [path.name for path in (tmp_path / "weights" / "replicas").iterdir()] == [R1]
        await site.drain()
        await site.until(ReplicaStopped)
        await site.forgotten()
        assert not list((tmp_path / "weights" / "replicas").iterdir())


async def test_a_model_is_served_with_its_variables_folders_and_secrets(
    machine: LocalRuntime, assign: Assign, tmp_path: Path, sandbox: Sandbox
) -> None:
    (tmp_path / "secrets" / "token").write_text("first value")
    (tmp_path / "secrets" / "other").write_text("not this model's")
    async with Site(MemoryLog(), machine).running() as site:
        await assign(site, environment_variables={"GREETING": "hello"})
        model = await served(site, tmp_path)
        assert await model.predict(ask="echo", n=4) == {"ask": "echo", "n": 4}
        seen = await model.predict(ask="surroundings", paths=[str(tmp_path), "/var", "/etc/shadow", "/usr"])
        assert seen["variables"]["GREETING"] == "hello" and seen["variables"]["HASH_TRUSS"]
        assert not [name for name in seen["variables"] if name.startswith(("NATS", "PYTEST"))]
        assert await model.predict(ask="write") == "written"
        assert await model.predict(ask="token") == "first value"
        (tmp_path / "secrets" / "token").write_text("second value")
        shown = model.folder.secrets / "token"
        await eventually(lambda: shown.read_text() == "second value")
        assert await model.predict(ask="token") == "second value"
        if sandbox.bubblewrap is not None:
            assert (seen["cwd"], seen["home"], seen["bundled"]) == ("/app", "/home/app", "/packages")
            assert (seen["secret_files"], seen["sees"]) == (["token"], ["/usr"])
        await eventually(lambda: any("in plain words" in line for line in model.said()))
        await site.drain()
        assert (await site.until(ReplicaStopped)).reason == "no longer needed"
        await site.forgotten()
    assert not list((tmp_path / "replicas").iterdir())


async def test_a_model_is_told_which_environment_it_serves(
    best_sandbox: Sandbox, assign: Assign, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    serves: dict[str, str] = {"d-1": "staging"}
    here = runtime(tmp_path, best_sandbox, find_limits(), lambda deployment_id: serves.get(deployment_id))
    told = "    def setup_environment(self, environment):\n        self.told = environment\n\n    def load("
    source = ECHO.replace("    def load(", told).replace('ask == "token"', 'ask == "told"', 1)
    async with Site(MemoryLog(), here).running() as site:
        await assign(site, source.replace('self.secrets["token"]', "self.told"))
        model = await served(site, tmp_path)
        assert await model.predict(ask="told") == {"name": "staging"}
        shown = model.folder.dynamic_config / "environment"
        serves["d-1"] = "production"
        await eventually(lambda: json.loads(shown.read_text()) == {"name": "production"})
        del serves["d-1"]
        await eventually(lambda: not shown.exists())
        await site.drain()
        await site.until(ReplicaStopped)


async def test_it_listens_on_the_address_that_it_was_given_and_nowhere_else(
    best_machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    async with Site(MemoryLog(), best_machine).running() as site:
        await assign(site)
        model = await served(site, tmp_path)
        server = server_of(model.folder)
        assert server is not None
        listening = [each.laddr for each in server.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert [f"{laddr.ip}:{laddr.port}" for laddr in listening] == [model.address]


async def test_a_request_that_runs_is_answered_while_its_replica_drains(
    machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    async with Site(MemoryLog(), machine).running() as site:
        await assign(site)
        model = await served(site, tmp_path)
        request = asyncio.create_task(model.predict(ask="sleep", seconds=1.5))
        await eventually((model.folder.app / "slow").exists)
        await site.drain()
        stopped = await site.until(ReplicaStopped)
        assert request.done() and await request == "slept"
        assert stopped.exit_code in (0, 143)


async def test_a_replica_that_loads_tells_when_it_has_and_is_not_asked_again_and_again(
    machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    async with Site(MemoryLog(), machine).running() as site:
        await assign(site, model=ECHO.replace("print(", "time.sleep(3); print("))
        await served(site, tmp_path)
        ended = (each for each in site.node.loop.story if isinstance(each, Finished))
        probed = [(each.at, each.result) for each in ended if isinstance(each.result, Probed)]
    (began, _), *_, (ready_at, last) = probed
    assert last.health == "ready"
    assert len(probed) <= 5 + (ready_at - began).total_seconds() / (NEW_WITHIN_S / 2), "else 20 to 50 a second"


async def test_a_crash_is_told_with_its_signal(machine: LocalRuntime, assign: Assign, tmp_path: Path) -> None:
    async with Site(MemoryLog(), machine).running() as site:
        await assign(site)
        model = await served(site, tmp_path)
        with pytest.raises(aiohttp.ClientError):
            await model.predict(ask="die")
        failed = await site.until(ReplicaFailed)
        assert (failed.stage, failed.exit_code) == ("run", 139) and "ended by signal 11" in failed.reason


async def test_a_load_that_raises_is_told_with_its_exception(
    best_machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    async with Site(MemoryLog(), best_machine).running() as site:
        await assign(site, model=ECHO.replace("print(", "raise ValueError('no weights at s3://bucket') #"))
        failed = await site.until(ReplicaFailed)
    assert failed.stage == "load" and "ValueError: no weights at s3://bucket" in failed.reason


async def test_a_model_that_does_not_import_is_told_with_its_exception(
    best_machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    async with Site(MemoryLog(), best_machine).running() as site:
        await assign(site, model="import not_there\n" + ECHO)
        failed = await site.until(ReplicaFailed)
    assert failed.stage == "load" and "No module named 'not_there'" in failed.reason


async def test_a_model_that_says_it_is_unhealthy_takes_no_traffic(
    best_machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    health = "\n    def is_healthy(self):\n        return not Path('sick').exists()\n"
    async with Site(MemoryLog(), best_machine).running() as site:
        checks = {"stop_traffic_threshold_seconds": 0.2, "restart_threshold_seconds": 300}
        await assign(site, model=ECHO + health, health_checks=checks)
        model = await served(site, tmp_path)
        (model.folder.app / "sick").touch()
        assert "not ready" in (await site.until(ReplicaUnready)).reason
        (model.folder.app / "sick").unlink()
        await site.until(ReplicaReady, count=2)


async def test_a_frozen_server_takes_no_traffic_and_is_replaced(
    best_machine: LocalRuntime, assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Site(MemoryLog(), best_machine).running() as site:
        await assign(site, health_checks={"stop_traffic_threshold_seconds": 0.1, "restart_threshold_seconds": 1})
        model = await served(site, tmp_path)
        server = server_of(model.folder)
        assert server is not None
        server.send_signal(signal.SIGSTOP)
        failed = await site.until(ReplicaFailed)
        assert failed.stage == "run" and "was not healthy for 1 s" in failed.reason
        await site.forgotten()
    assert not psutil.pid_exists(server.pid) or server.status() == psutil.STATUS_ZOMBIE


async def test_memory_is_limited_and_running_out_of_it_is_told(
    machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    if find_limits().version == "none":
        pytest.skip("no control groups can be made here")
    async with Site(MemoryLog(), machine).running() as site:
        await assign(site, memory_bytes=400 << 20)
        model = await served(site, tmp_path)
        with pytest.raises(aiohttp.ClientError):
            await model.predict(ask="eat")
        failed = await site.until(ReplicaFailed)
        assert failed.stage == "run" and "ran out of memory" in failed.reason
        await site.forgotten()


async def test_the_next_agent_keeps_the_same_process_and_reads_its_output_on(
    machine: LocalRuntime, assign: Assign, tmp_path: Path, sandbox: Sandbox
) -> None:
    log = MemoryLog()
    async with Site(log, machine).running() as site:
        await assign(site)
        model = await served(site, tmp_path)
        server = server_of(model.folder)
        await eventually(lambda: any("in plain words" in line for line in model.said()))
    before = model.said()
    assert await model.predict(ask="echo") == {"ask": "echo"}, "it serves while there is no agent"
    async with Site(log, runtime(tmp_path, sandbox, find_limits())).running() as site:
        await eventually(lambda: R1 in site.node.loop.actual.replicas)
        await eventually(lambda: "ready-1" in site.node.loop.actual.replicas[R1].told)
        assert server_of(model.folder) == server
        await eventually(lambda: len(model.said()) > len(before))
        assert model.said()[: len(before)] == before
        await site.drain()
        stopped = await site.until(ReplicaStopped)
        assert stopped.exit_code in (0, 143), "the exit is seen though this agent is not its parent"
    assert (await site.names_of()).count("ReplicaReady") == 1


async def test_the_next_agent_tells_how_a_replica_died_meanwhile(
    machine: LocalRuntime, assign: Assign, tmp_path: Path, sandbox: Sandbox
) -> None:
    log = MemoryLog()
    async with Site(log, machine).running() as site:
        await assign(site)
        model = await served(site, tmp_path)
        server = server_of(model.folder)
    assert server is not None
    server.kill()
    await eventually(lambda: not model.folder.is_kept())
    async with Site(log, runtime(tmp_path, sandbox, find_limits())).running() as site:
        failed = await site.until(ReplicaFailed)
        assert (failed.stage, failed.exit_code) == ("run", 137)
        await site.forgotten()


async def test_replicas_of_a_stack_that_is_shut_down_are_ended_and_told_as_stopped(
    best_machine: LocalRuntime, assign: Assign, tmp_path: Path, best_sandbox: Sandbox
) -> None:
    log = MemoryLog()
    async with Site(log, best_machine).running() as site:
        await assign(site)
        model = await served(site, tmp_path)
        request = asyncio.create_task(model.predict(ask="sleep", seconds=1))
        await eventually((model.folder.app / "slow").exists)
    assert await asyncio.to_thread(end_all, tmp_path / "replicas", 20) == (R1,)
    assert await request == "slept" and not model.folder.is_kept()
    assert await asyncio.to_thread(end_all, tmp_path / "replicas", 20) == ()
    async with Site(log, runtime(tmp_path, best_sandbox, find_limits())).running() as site:
        assert (await site.until(ReplicaStopped)).reason == "the stack was shut down"


async def test_what_a_replica_leaves_behind_in_other_sessions_ends_with_it(
    machine: LocalRuntime, assign: Assign, tmp_path: Path
) -> None:
    daemon = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)"
    async with Site(MemoryLog(), machine).running() as site:
        await assign(site, model=ECHO.replace("print(", f"{daemon} #"))
        model = await served(site, tmp_path)
        server = server_of(model.folder)
        assert server is not None
        (left,) = server.children()
        os.kill(server.pid, signal.SIGKILL)
        await site.until(ReplicaFailed)
        await eventually(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)


async def test_a_bundle_that_is_not_here_is_told_after_a_few_tries(
    best_machine: LocalRuntime, truss_template: Template, tmp_path: Path
) -> None:
    async with Site(MemoryLog(), best_machine).running() as site:
        await site.assign()
        failed = await site.until(ReplicaFailed)
    assert failed.stage == "environment" and "no blob sha256:000" in failed.reason
