"""`causeway doctor`: what this machine offers, what is missing, and what to do about it.

Each check looks at one thing and answers with one row; it never changes anything and never raises for what it
finds. A row that is not `needed` only warns: the plane works without it, and the detail says how.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from ops.config import CHECKOUT, PREFIX, Settings
from ops.local import nats_server, postgres
from ops.local.attach import status
from ops.local.files import read_or_none
from ops.local.nats_server import ToolMissing
from ops.local.ports import PortTaken, candidates, choose, is_free

OLDEST_PYTHON = (3, 11)
OLDEST_NATS = (2, 12)  # atomic batches
ROOTS = ("events", "projections", "handlers", "gateway", "agents", "ops")
GIB = 1024**3
DISK_NEEDED_BYTES, DISK_WANTED_BYTES = GIB, 8 * GIB
ANSWER_DEADLINE_S = 20.0


class Row(Struct, frozen=True):
    """One finding. `fix` is empty when all is well."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = True


def examine(settings: Settings) -> tuple[Row, ...]:
    """Every check, in the order in which a start would stumble over them."""
    checks: tuple[Callable[[Settings], Row], ...] = (
        _python,
        _packages,
        _kernel,
        _state_folder,
        _disk,
        _port,
        _nats,
        _postgres,
        _uv,
        _truss,
        _bubblewrap,
        _cgroups,
    )
    return tuple(check(settings) for check in checks)


def is_fit(rows: tuple[Row, ...]) -> bool:
    """Whether `causeway up` can work here."""
    return all(row.ok for row in rows if row.needed)


def _python(_: Settings) -> Row:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info[:2] >= OLDEST_PYTHON
    return Row("python", ok, f"{version} ({sys.executable})", "" if ok else "use Python 3.11 or newer")


def _packages(_: Settings) -> Row:
    strangers = []
    for root in ROOTS:
        spec = importlib.util.find_spec(root)
        if spec is None or spec.origin is None or Path(spec.origin).parent != CHECKOUT / root:
            strangers.append(f"{root} is {spec.origin if spec and spec.origin else 'missing'}")
    if strangers:
        return Row(
            "packages",
            False,
            "; ".join(strangers),
            f"uninstall what shadows them, or run {CHECKOUT}/.venv/bin/causeway",
        )
    return Row("packages", True, f"all of ours are in {CHECKOUT}")


def _kernel(_: Settings) -> Row:
    release = os.uname()
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        detail = f"{release.sysname} {release.release} has no pidfd"
        return Row("kernel", False, detail, "use Linux 5.3 or newer")
    return Row("kernel", True, f"{release.sysname} {release.release}")


def _state_folder(settings: Settings) -> Row:
    standing = _standing(settings.state)
    ok = os.access(standing, os.W_OK | os.X_OK) and standing.is_dir()
    fix = "" if ok else f"make {standing} writable, or set {PREFIX}STATE"
    return Row("state folder", ok, str(settings.state) if ok else f"{standing} cannot be written", fix)


def _disk(settings: Settings) -> Row:
    free = shutil.disk_usage(_standing(settings.state)).free
    detail = f"{free / GIB:.1f} GiB free at {settings.state}"
    if free >= DISK_WANTED_BYTES:
        return Row("disk", True, detail)
    fix = f"free some space, or set {PREFIX}STATE to another disk"
    return Row("disk", False, detail, fix, needed=free < DISK_NEEDED_BYTES)


def _port(settings: Settings) -> Row:
    running = status(settings) if settings.state.exists() else None
    if running is not None:
        return Row("port", True, f"the running stack serves {running.url}")
    known = read_or_none(settings.state / "run" / "port")
    try:
        choice = choose(
            settings.port, int(known) if known else None, lambda port: is_free(port, settings.bind), candidates()
        )
    except PortTaken as error:
        return Row("port", False, f"{settings.port} is in use", str(error))
    picked_anew = f"{choice.port}" if choice.why.startswith(("as ", "the ")) else "a free one"
    return Row("port", True, f"{picked_anew}: {choice.why}")


def _nats(settings: Settings) -> Row:
    if settings.nats_url is not None:
        return Row("nats-server", True, "external; its version is checked at start")
    try:
        program = nats_server.binary(settings)
    except ToolMissing as error:
        return Row("nats-server", False, "not found", str(error))
    said = _answer(program, "--version")
    if version_in(said) < OLDEST_NATS:
        wanted = ".".join(map(str, OLDEST_NATS))
        return Row("nats-server", False, f"{said or 'no answer'} ({program})", f"use nats-server {wanted} or newer")
    return Row("nats-server", True, f"{said} ({program})")


def _postgres(settings: Settings) -> Row:
    if settings.postgres_url is not None:
        return Row("postgres", True, "external")
    try:
        program = postgres.programs(settings) / "postgres"
    except ToolMissing as error:
        return Row("postgres", False, "not found", str(error))
    said = _answer(program, "--version")
    fix = "" if said else f"run {program} --version to see why, or set {PREFIX}POSTGRES_URL"
    return Row("postgres", bool(said), said or f"{program} does not run", fix)


def _uv(settings: Settings) -> Row:
    program = settings.uv or Path(sys.executable).parent / "uv"
    said = _answer(program, "--version")
    return Row("uv", bool(said), said or f"{program} does not run", "" if said else "run `make setup`")


def _truss(settings: Settings) -> Row:
    ok = (settings.truss_venv / "bin" / "truss").exists()
    fix = "" if ok else f"run `make setup`, or set {PREFIX}TRUSS_VENV"
    return Row("truss client", ok, str(settings.truss_venv) if ok else f"not in {settings.truss_venv}", fix)


def _bubblewrap(settings: Settings) -> Row:
    if settings.sandbox == "process":
        return Row("sandbox", True, "plain processes, as configured")
    needed = settings.sandbox == "bubblewrap"
    without = "" if needed else "; models run as plain processes"
    program = settings.bubblewrap or _on_path("bwrap", settings)
    if program is None:
        return Row("sandbox", False, f"no bubblewrap{without}", "install the package `bubblewrap`", needed)
    options = ("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "--die-with-parent")
    trial = _run(program, *options, "true")
    if trial is None or trial.returncode != 0:
        said = (trial.stderr.strip() if trial else "no answer") or "no reason given"
        fix = "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap)"
        return Row("sandbox", False, f"{program} does not work here: {said}{without}", fix, needed)
    return Row("sandbox", True, f"{_answer(program, '--version')} works ({program})")


def _cgroups(_: Settings) -> Row:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        own = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), "/").lstrip("/")
        kind, places = "v2", [root / own]
    elif (root / "memory").exists():
        kind, places = "v1", [root / "memory", root / "cpu"]
    else:
        return Row(
            "cgroups", False, "not mounted; memory and CPU limits are not enforced", "mount cgroup2", needed=False
        )
    if all(os.access(place, os.W_OK) for place in places):
        return Row("cgroups", True, f"{kind}, writable")
    detail = f"{kind}, not writable by us; memory and CPU limits are not enforced"
    return Row("cgroups", False, detail, "run as root, or delegate a cgroup (systemd: Delegate=yes)", needed=False)


def version_in(text: str) -> tuple[int, ...]:
    """The first dotted version in a program's words; () if there is none."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def _standing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _on_path(name: str, settings: Settings) -> Path | None:
    found = shutil.which(name, path=dict(settings.inherited_env).get("PATH"))
    return Path(found) if found else None


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _answer(program: Path, *arguments: str) -> str:
    done = _run(program, *arguments)
    return done.stdout.strip() if done is not None and done.returncode == 0 else ""


def _run(program: Path, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=ANSWER_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
