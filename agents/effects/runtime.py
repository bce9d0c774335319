"""Replicas as processes of this machine: the real hands of the node agent.

A replica outlives its agent. All that the next agent must know lies in the replica's folder (`replica_folder.py`), how
its process ended is written by its keeper (`keeper.py`), and what it printed is in a file of its own (`output.py`).
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import structlog

from agents.effects import (
    AwaitExit,
    Done,
    DrainReplica,
    Effect,
    EffectFailed,
    Exited,
    FetchWeights,
    ForgetReplica,
    Found,
    PatchReplica,
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
from agents.effects.ending import how_it_ended
from agents.effects.environments import Environment, EnvironmentFailed
from agents.effects.interpreters import PythonMissing
from agents.effects.keeper import MARKER_VARIABLE, KeeperFailed, begin, begun, gone, kill, reap, server_of, terminate
from agents.effects.limits import Limits, join_files, remove_group
from agents.effects.live_reload import Tools, copy_environment, set_up, sync
from agents.effects.news import Newsroom
from agents.effects.output import Output
from agents.effects.ports import Ports, listens
from agents.effects.probe import probe, wait_until_listening
from agents.effects.replica_folder import Record, Reloader, ReplicaFolder
from agents.effects.sandbox import Sandbox
from agents.effects.unpack import BadArchive, unpack
from agents.effects.weights_mount import NodeWeights
from agents.weights.fetch import WeightsLate
from events.base import BlobDigest, DeploymentId, ReplicaId
from events.signals.log_lines import LogFiles
from events.weights import ManifestId
from projections.patches import Patches
from projections.replica_targets import ReplicaTarget
from projections.stores.blobs import BlobMissing, FolderBlobs

_log = structlog.get_logger()
NEW_WITHIN_S = 0.5
"""A probe of a replica that loads waits so long for something new of it, which it learns at once."""

OnLine = Callable[[str], None]
EnsureEnvironment = Callable[[Path, str, OnLine], Awaitable[Environment]]
"""`Environments.ensure`: lock file, Python version, where its output goes."""


class LocalRuntime:
    def __init__(
        self,
        *,
        replicas: Path,
        secrets: Path,
        blobs: FolderBlobs,
        logs: LogFiles,
        ensure_environment: EnsureEnvironment,
        sandbox: Sandbox,
        limits: Limits,
        surroundings: Mapping[str, str],
        reload_with: Tools,
        weights: NodeWeights,
        environment_of: Callable[[DeploymentId], str | None],
        host: str = "127.0.0.1",
        probe_timeout_s: float = 5.0,
    ) -> None:
        self._replicas = replicas
        self._secrets = secrets
        self._blobs = blobs
        self._logs = logs
        self._ensure_environment = ensure_environment
        self._sandbox = sandbox
        self._limits = limits
        self._surroundings = surroundings
        self._reload_with = reload_with
        self._weights = weights
        self._environment_of = environment_of
        self._host = host
        self._probe_timeout_s = probe_timeout_s
        self._prepared: dict[ReplicaId, tuple[Prepared, Path]] = {}
        self._weights_here: dict[ReplicaId, WeightsHere] = {}
        self._ports = Ports(host)
        self._news = Newsroom()
        self._writing = threading.Lock()

    async def survey(self) -> tuple[Found, ...]:
        _log.info("replicas will run", sandbox=self._sandbox.name, limits=self._limits.version)
        found = []
        for path in sorted(self._replicas.glob("*/")):
            folder = ReplicaFolder(path)
            record = folder.record()
            keeper = await begun(folder) if folder.is_kept() else folder.keeper()
            if record is None or keeper is None:
                await asyncio.to_thread(_clear, folder, record)
                continue
            running = Running(keeper.server, record.address, record.started_at)
            for address in {record.address, record.probed}:
                self._ports.keep(address)
            ids = (record.replica_id, record.deployment_id)
            found.append(Found(*ids, record.prepared, running, folder.was_ready(), folder.patched(), record.weights))
        await asyncio.to_thread(self._weights.forget_others, {each.replica_id for each in found})
        if found:
            _log.info("replicas of an earlier agent", replicas=[each.replica_id for each in found])
        return tuple(found)

    async def perform(self, effect: Effect) -> Result:
        folder = self._folder(effect.replica_id)
        match effect:
            case PrepareReplica(target=target):
                return await self._prepare(target, folder)
            case FetchWeights(target=target):
                return await self._fetch_weights(target, folder)
            case StartReplica(target=target):
                return await self._start(target, folder)
            case PatchReplica(target=target):
                return await self._patch(target, folder)
            case AwaitExit():
                return await self._await_exit(folder)
            case ProbeReplica():
                return await self._probe(folder)
            case DrainReplica():
                return await self._drain(effect, folder)
            case StopReplica():
                return await self._stop(effect, folder)
            case ForgetReplica():
                return await self._forget(effect, folder)

    async def _prepare(self, target: ReplicaTarget, folder: ReplicaFolder) -> Result:
        began = time.monotonic()
        output = self._output(folder, target.deployment_id, target.replica_id)
        try:
            await asyncio.to_thread(folder.make)
            lock, bundle = (self._blob(digest) for digest in (target.environment, target.bundle))
            environment = await self._ensure_environment(lock, target.python_version, output.say)
            await asyncio.to_thread(unpack, bundle, folder.path / "bundle")
            if target.patches is not None:
                await asyncio.to_thread(copy_environment, environment.path, folder.environment)
            facts = folder.facts()
        except (BlobMissing, EnvironmentFailed, OSError) as error:
            output.say(f"cannot be prepared: {error}", "error")
            return EffectFailed(str(error), again=True)
        except (PythonMissing, BadArchive, msgspec.DecodeError) as error:
            output.say(f"cannot be prepared: {error}", "error")
            return EffectFailed(str(error))
        for path in (folder.packages, folder.app):
            path.mkdir(exist_ok=True)
        prepared = Prepared(time.monotonic() - began, environment.reused, facts.patience())
        own = environment.path if target.patches is None else folder.environment
        self._prepared[target.replica_id] = prepared, own
        return prepared

    async def _fetch_weights(self, target: ReplicaTarget, folder: ReplicaFolder) -> Result:
        try:
            fetched = await self._weights.fetch(target.replica_id, target.weights)
        except WeightsLate as error:
            output = self._output(folder, target.deployment_id, target.replica_id)
            output.say(f"has not got its weights: {error.reason}", "error")
            return WeightsLack(error.lack, error.reason)
        tally = fetched.tally
        here = WeightsHere(fetched.seconds, tally.node, tally.peer, tally.mirror, fetched.mounted)
        self._weights_here[target.replica_id] = here
        return here

    async def prefetch(self, manifest_id: ManifestId) -> WeightsHere | WeightsLack:
        try:
            fetched = await self._weights.prefetch(manifest_id)
        except WeightsLate as error:
            return WeightsLack(error.lack, error.reason)
        tally = fetched.tally
        return WeightsHere(fetched.seconds, tally.node, tally.peer, tally.mirror)

    async def _start(self, target: ReplicaTarget, folder: ReplicaFolder) -> Result:
        output = self._output(folder, target.deployment_id, target.replica_id)
        try:
            return await self._begin(target, folder, output)
        except (KeeperFailed, BlobMissing, OSError) as error:
            output.say(f"cannot be started: {error}", "error")
            return EffectFailed(str(error))

    async def _begin(self, target: ReplicaTarget, folder: ReplicaFolder, output: Output) -> Running:
        facts, marker = folder.facts(), _marker(folder)
        prepared, environment = self._prepared_as(target.replica_id, folder)
        port = self._ports.pick()
        address = f"{self._host}:{port}"
        reloader = None
        if target.patches is not None:
            own = Reloader(address, f"{self._host}:{self._ports.pick()}", facts.truss_hash)
            reloader = await self._set_up(target.patches, own, folder, environment)
        record = Record(
            replica_id=target.replica_id,
            deployment_id=target.deployment_id,
            prepared=prepared,
            environment=str(environment),
            address=address,
            started_at=datetime.now(UTC),
            marker=marker,
            secrets=facts.secrets,
            cgroups=tuple(map(str, self._limits.make(marker, target.cpu_millicores, target.memory_bytes))),
            reloader=reloader,
            weights=self._weights_here.get(target.replica_id),
        )
        mounted = record.weights.mounted if record.weights is not None else ()
        folder.write_record(record)
        folder.clear_process()
        self._show(folder, record)
        variables = {
            **facts.environment_variables,
            "HASH_TRUSS": facts.truss_hash,
            "INFERENCE_SERVER_PORT": str(port),
            **self._sandbox.show_weights(folder, mounted),
            MARKER_VARIABLE: marker,
        }
        launch = self._sandbox.launch(
            folder,
            environment,
            listen=self._host,
            variables=variables,
            surroundings=self._surroundings,
            reload_with=None if reloader is None else self._reload_with,
            mounted=mounted,
        )
        join = join_files([Path(group) for group in record.cgroups])
        news = self._news.expected_of(target.replica_id)
        try:
            keeper = await begin(folder, launch.command, env=launch.env, cwd=folder.app, news=news.writing, join=join)
        finally:
            news.handed_over()
        output.say(f"started on {record.address} ({self._sandbox.name})")
        return Running(keeper.server, record.address, record.started_at)

    async def _set_up(self, wanted: Patches, own: Reloader, folder: ReplicaFolder, environment: Path) -> Reloader:
        return await set_up(
            folder,
            wanted,
            own,
            tools=self._reload_with,
            home=self._sandbox.home(folder),
            command=self._sandbox.model_server(folder, environment, self._host),
            read=self._blobs.read,
        )

    async def _patch(self, target: ReplicaTarget, folder: ReplicaFolder) -> Result:
        record = folder.record()
        assert record is not None and record.reloader is not None and target.patches is not None
        output = self._output(folder, target.deployment_id, target.replica_id)
        home, read = folder.home, self._blobs.read
        patched = await sync(record.reloader, target.patches, home=home, read=read, last_words=output.last_words)
        how = "its model server began anew" if patched.restarted else "reloaded in place"
        if patched.failure is None:
            output.say(f"runs patch {patched.number} ({how}, {patched.seconds:.1f} s)")
        else:
            output.say(f"patch {patched.number} failed: {patched.failure}", "error")
        folder.write_patched(patched)
        return patched

    def _show(self, folder: ReplicaFolder, record: Record) -> None:
        """What may change while it runs."""
        folder.show_secrets(self._secrets, record.secrets)
        folder.show_environment(self._environment_of(record.deployment_id))

    def _prepared_as(self, replica_id: ReplicaId, folder: ReplicaFolder) -> tuple[Prepared, Path]:
        """By us; or by an earlier agent, whose start lost its port."""
        if replica_id not in self._prepared:
            record = folder.record()
            assert record is not None, f"{replica_id} is started without having been prepared"
            return record.prepared, Path(record.environment)
        return self._prepared[replica_id]

    async def _await_exit(self, folder: ReplicaFolder) -> Exited:
        record = folder.record()
        assert record is not None, f"{folder.path} has no record"
        output = self._output(folder, record.deployment_id, record.replica_id)
        reading = asyncio.create_task(output.follow())
        try:
            await gone(folder)
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        reap(folder)
        kill(folder, record)
        for address in {record.address, record.probed}:
            self._ports.release(address)
        self._news.forget(record.replica_id)
        await asyncio.to_thread(output.convert, to_the_end=True)
        exited = how_it_ended(folder, record, output)
        output.say(f"ended with exit code {exited.exit_code}: {exited.reason}", "warning")
        return exited

    async def _probe(self, folder: ReplicaFolder) -> Probed:
        record = folder.record()
        assert record is not None, f"{folder.path} has no record"
        self._show(folder, record)
        # A server that loads has more to do than to answer.
        if not folder.was_ready() and (record.reloader or not await self._news.of(record.replica_id, NEW_WITHIN_S)):
            await wait_until_listening(record.probed, NEW_WITHIN_S)
        probed = await probe(record.probed, self._probe_timeout_s)
        if probed.health == "ready" and not folder.was_ready():
            if not listens(server_of(folder), record.address):
                return Probed("silent", f"another program answers on {record.address}")
            folder.mark_ready()
            self._news.forget(record.replica_id)
        if probed.health != "ready" and folder.output.exists():
            return msgspec.structs.replace(probed, output_bytes=folder.output.stat().st_size)
        return probed

    async def _drain(self, effect: DrainReplica, folder: ReplicaFolder) -> Result:
        record = folder.record()
        assert record is not None, f"{folder.path} has no record"
        self._output(folder, record.deployment_id, record.replica_id).say(f"drains: {effect.reason}")
        await asyncio.sleep(effect.grace_s)
        terminate(folder)
        return Done()

    async def _stop(self, effect: StopReplica, folder: ReplicaFolder) -> Result:
        record = folder.record()
        assert record is not None, f"{folder.path} has no record"
        self._output(folder, record.deployment_id, record.replica_id).say(f"is stopped: {effect.reason}", "warning")
        kill(folder, record)
        return Done()

    async def _forget(self, effect: ForgetReplica, folder: ReplicaFolder) -> Result:
        record = folder.record()
        try:
            await asyncio.to_thread(_clear, folder, record)
            await asyncio.to_thread(self._weights.forget, effect.replica_id)
        except OSError as error:
            _log.warning("a replica's remains are still in use", replica=effect.replica_id, why=str(error))
            return EffectFailed(str(error), again=True)
        self._prepared.pop(effect.replica_id, None)
        self._weights_here.pop(effect.replica_id, None)
        if effect.deployment_id:
            self._output(folder, effect.deployment_id, effect.replica_id).close()
        return Done()

    def _folder(self, replica_id: ReplicaId) -> ReplicaFolder:
        return ReplicaFolder(self._replicas / replica_id)

    def _output(self, folder: ReplicaFolder, deployment_id: DeploymentId, replica_id: ReplicaId) -> Output:
        return Output(folder.output, folder.secrets, self._logs, self._writing, deployment_id, replica_id)

    def _blob(self, digest: BlobDigest) -> Path:
        if not self._blobs.exists(digest):
            raise BlobMissing(f"no blob {digest} on this machine")
        return self._blobs.path(digest)


def _marker(folder: ReplicaFolder) -> str:
    """Names this replica of this state folder: another checkout may have one of the same id."""
    return f"{folder.path.name}.{sha256(str(folder.path.absolute()).encode()).hexdigest()[:12]}"


def _clear(folder: ReplicaFolder, record: Record | None) -> None:
    """Raises OSError while the kernel still has something of it."""
    if record is not None:
        kill(folder, record)
        for group in record.cgroups:
            remove_group(Path(group))
    folder.remove()
