"""What a replica has on this machine's disk, so that the next agent finds it as this one left it.

`record.json` is written before its process starts and says all that a later agent must know; `lock` is held by the
replica's keeper as long as it lives (no pid can be mistaken for another's); `process` and `exit` are the keeper's.
"""

import fcntl
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from secrets import token_hex

import msgspec

from agents.effects import HealthChecks, Patched, Prepared, WeightsHere
from agents.effects.folders import remove
from events.base import DeploymentId, ReplicaId
from handlers.deciders.access import SECRET_NAME


class Reloader(msgspec.Struct, frozen=True):
    """How the agent reaches the live reload server of a development deployment's replica."""

    address: str
    inference: str
    """Of the model server behind it."""
    base_hash: str
    """truss's hash of what was built."""
    token: str = msgspec.field(default_factory=lambda: token_hex(16))


class Record(msgspec.Struct, frozen=True):
    replica_id: ReplicaId
    deployment_id: DeploymentId
    prepared: Prepared
    environment: str
    address: str
    started_at: datetime
    marker: str
    """Value of CAUSEWAY_REPLICA in its processes: whose they are, wherever they hide."""
    secrets: tuple[str, ...]
    cgroups: tuple[str, ...]
    reloader: Reloader | None = None
    """Of a development deployment's replica."""
    weights: WeightsHere | None = None

    @property
    def probed(self) -> str:
        """Where it is asked how it is."""
        return self.address if self.reloader is None else self.reloader.inference


class Keeper(msgspec.Struct, frozen=True):
    pid: int
    """Also its process group and session."""
    server: int
    """What it started: the server, or the sandbox around it."""


class BundleFacts(msgspec.Struct, frozen=True):
    """What the node needs of bundle.json; the builder reads the rest."""

    truss_hash: str = ""
    environment_variables: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    health_checks: dict[str, float | None] = {}

    def patience(self) -> HealthChecks:
        given = self.health_checks.get
        return HealthChecks(
            startup_s=given("startup_threshold_seconds"),
            stop_traffic_s=given("stop_traffic_threshold_seconds"),
            restart_s=given("restart_threshold_seconds"),
        )


class ReplicaFolder:
    """`path` is below the state folder's `replicas`, named by the replica."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.app = path / "bundle" / "app"
        self.packages = path / "bundle" / "packages"
        self.home = path / "home"
        self.tmp = path / "tmp"
        self.secrets = path / "secrets"
        self.dynamic_config = path / "dynamic_config"
        self.output = path / "output.log"
        self.environment = path / "environment"
        """Packages of its own, which patches change: a development deployment's only."""
        self.control_settings = path / "control.json"

    def make(self) -> None:
        """A fresh one; what was there is removed."""
        self.remove()
        for folder in (self.path, self.home, self.tmp, self.secrets, self.dynamic_config):
            folder.mkdir(parents=True, mode=0o700)

    def remove(self) -> None:
        remove(self.path)

    def facts(self) -> BundleFacts:
        """Raises msgspec.ValidationError or FileNotFoundError for what is no bundle."""
        bundle = (self.path / "bundle" / "bundle.json").read_bytes()
        return msgspec.json.decode(bundle, type=BundleFacts)

    def show_secrets(self, values: Path, names: Sequence[str]) -> None:
        """The replica sees only the names that its config lists; a new value is there at its next access."""
        for name in filter(SECRET_NAME.fullmatch, names):
            source, shown = values / name, self.secrets / name
            value = source.read_bytes() if source.is_file() else None
            if value is None:
                shown.unlink(missing_ok=True)
            elif not shown.exists() or shown.read_bytes() != value:
                aside = self.secrets / f".{name}"
                aside.write_bytes(value)
                aside.chmod(0o400)
                aside.replace(shown)

    def show_environment(self, name: str | None) -> None:
        """What its model server tells the model, also when it changes: the environment that it serves."""
        shown = self.dynamic_config / "environment"
        if name is None:
            shown.unlink(missing_ok=True)
            return
        text = msgspec.json.encode({"name": name})
        if not shown.exists() or shown.read_bytes() != text:
            aside = self.path / "environment.aside"
            aside.write_bytes(text)
            aside.replace(shown)

    def write_record(self, record: Record) -> None:
        aside = self.path / "record.aside"
        aside.write_bytes(msgspec.json.encode(record))
        aside.replace(self.path / "record.json")

    def record(self) -> Record | None:
        try:
            return msgspec.json.decode((self.path / "record.json").read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_patched(self, patched: Patched) -> None:
        aside = self.path / "patched.aside"
        aside.write_bytes(msgspec.json.encode(patched))
        aside.replace(self.path / "patched.json")

    def patched(self) -> Patched | None:
        try:
            return msgspec.json.decode((self.path / "patched.json").read_bytes(), type=Patched)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def keeper(self) -> Keeper | None:
        try:
            pid, server = (self.path / "process").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return Keeper(int(pid), int(server))

    def clear_process(self) -> None:
        """What an earlier start (that lost its port) left."""
        for name in ("process", "exit"):
            (self.path / name).unlink(missing_ok=True)

    def exit_code(self) -> int | None:
        try:
            return int((self.path / "exit").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def was_ready(self) -> bool:
        return (self.path / "ready").exists()

    def mark_ready(self) -> None:
        (self.path / "ready").touch()

    def asked_to_end(self) -> str | None:
        """Why, if it was not an agent that asked."""
        try:
            return (self.path / "asked").read_text()
        except FileNotFoundError:
            return None

    def mark_asked(self, reason: str) -> None:
        (self.path / "asked").write_text(reason)

    def take_lock(self) -> int | None:
        """A handle that holds the lock; None while a keeper does."""
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def is_kept(self) -> bool:
        """Whether its keeper lives. The folder may be cleared away at any moment: then none does."""
        try:
            handle = self.take_lock()
        except FileNotFoundError:
            return False
        if handle is None:
            return self.path.exists()
        os.close(handle)
        return False
