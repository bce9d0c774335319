"""What a replica sees of this machine: its own folders, its Python and the system's libraries, nothing of ours.

In bubblewrap it has its own processes, users and mounts, and the paths that truss expects; the network is shared.
Without bubblewrap it is a plain process whose folders `serve_bundle.py` gives to it: the same behaviour, no walls.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from agents.effects import Mounted, live_reload
from agents.effects.live_reload import Tools
from agents.effects.news import NEWS_FD
from agents.effects.replica_folder import ReplicaFolder
from agents.effects.surroundings import named_paths, reaching_indexes

LAUNCHER = Path(__file__).with_name("serve_bundle.py")
_LAUNCHER_INSIDE = Path("/run/causeway/serve_bundle.py")
_RELOAD_INSIDE = Path("/run/causeway/serve_control.py")
_SETTINGS_INSIDE = Path("/run/causeway/control.json")
WEIGHTS_VARIABLE = "CAUSEWAY_WEIGHTS"
"""JSON: for each mount_location, the folder where the replica finds it."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", "/opt")
_ETC = (
    "passwd", "group", "hosts", "host.conf", "gai.conf", "nsswitch.conf", "services", "protocols", "localtime",
    "timezone", "mime.types", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl", "ca-certificates",
    "pki", "fonts", "OpenCL",
)  # fmt: skip
_SHARED_VARIABLES = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip
ISOLATED = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL")
_AS_USER = ("--unshare-user", "--uid", "1000", "--gid", "1000")


class SandboxMissing(Exception):
    """Bubblewrap was asked for and does not work here."""


class Launch(msgspec.Struct, frozen=True):
    """What to start and with which environment."""

    command: tuple[str | Path, ...]
    env: dict[str, str]


class Sandbox(msgspec.Struct, frozen=True):
    bubblewrap: Path | None
    """None: plain processes."""
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "process" if self.bubblewrap is None else "bubblewrap"

    def launch(
        self,
        folder: ReplicaFolder,
        environment: Path,
        *,
        listen: str,
        variables: Mapping[str, str],
        surroundings: Mapping[str, str],
        reload_with: Tools | None = None,
        mounted: Sequence[Mounted] = (),
    ) -> Launch:
        """`variables` are the model's own and win over those that we set; `surroundings` are the agent's.

        `reload_with`: the live reload server is started, with the settings in the folder, and starts the model server.
        """
        inside = self.bubblewrap is not None
        env = {
            **{name: value for name, value in surroundings.items() if name in _SHARED_VARIABLES},
            "PATH": f"{environment / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(environment),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "HOME": "/home/app" if inside else str(folder.home),
            "TMPDIR": "/tmp" if inside else str(folder.tmp),
            **({} if reload_with is None else _for_patches(environment, surroundings)),
            **variables,
        }
        command = self.model_server(folder, environment, listen)
        if reload_with is None:
            command = (*command, "--news", str(NEWS_FD))
        else:
            script, settings = (live_reload.LAUNCHER, folder.control_settings)
            if inside:
                script, settings = _RELOAD_INSIDE, _SETTINGS_INSIDE
            command = (reload_with.venv / "bin" / "python", script, settings)
        if self.bubblewrap is None:
            return Launch(command, env)
        walls = (self.bubblewrap, *ISOLATED, *self.flags, *_mounts(folder, environment, env, reload_with, mounted))
        return Launch((*walls, "--", *command), env)

    def model_server(self, folder: ReplicaFolder, environment: Path, listen: str) -> tuple[str | Path, ...]:
        """What starts it, as its own sandbox sees it."""
        python = environment / "bin" / "python"
        if self.bubblewrap is not None:
            return (python, _LAUNCHER_INSIDE, "--listen", listen)
        folders = ("--folders", folder.packages, folder.secrets, folder.dynamic_config)
        return (python, LAUNCHER, "--listen", listen, *folders)

    def show_weights(self, folder: ReplicaFolder, mounted: Sequence[Mounted]) -> dict[str, str]:
        """The variable that says where they are. Without a sandbox, what is wanted below /app is linked there."""
        if not mounted:
            return {}
        places = {each.location: each.location for each in mounted}
        if self.bubblewrap is None:
            places = {each.location: each.folder for each in mounted}
            for each in mounted:
                if each.location.startswith("/app/"):
                    link = folder.app / each.location.removeprefix("/app/")
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.unlink(missing_ok=True)
                    link.symlink_to(each.folder)
        return {WEIGHTS_VARIABLE: msgspec.json.encode(places).decode()}

    def home(self, folder: ReplicaFolder) -> Path:
        """Where the model server runs, as its own sandbox sees it."""
        return folder.app if self.bubblewrap is None else Path("/app")


def _for_patches(environment: Path, surroundings: Mapping[str, str]) -> dict[str, str]:
    """How uv installs what a patch requires."""
    return {
        **reaching_indexes(surroundings),
        "PYTHON_EXECUTABLE": str(environment / "bin" / "python"),
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _mounts(
    folder: ReplicaFolder,
    environment: Path,
    env: Mapping[str, str],
    reload_with: Tools | None,
    mounted: Sequence[Mounted],
) -> Iterator[str | Path]:
    yield from system_mounts()
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if name in env:
            yield from ("--ro-bind-try", env[name], env[name])
    for source, place in (
        (folder.app, "/app"),
        (folder.packages, "/packages"),
        (folder.home, "/home/app"),
        (folder.tmp, "/tmp"),
    ):
        yield from ("--bind", source, place)
    # After /tmp, which would hide a state folder below it.
    yield from ("--bind" if reload_with is not None else "--ro-bind", environment, environment)
    for path in _bases(environment):
        yield from ("--ro-bind", path, path)
    if reload_with is not None:
        for path in (reload_with.venv, *_bases(reload_with.venv), reload_with.uv, *named_paths(reaching_indexes(env))):
            yield from ("--ro-bind-try", path, path)
        # Again: what a variable names may lie around it.
        yield from ("--bind", environment, environment)
        yield from ("--ro-bind", live_reload.LAUNCHER, _RELOAD_INSIDE)
        yield from ("--ro-bind", folder.control_settings, _SETTINGS_INSIDE)
    yield from ("--ro-bind", folder.secrets, "/secrets")
    yield from ("--ro-bind", folder.dynamic_config, "/etc/b10_dynamic_config")
    yield from ("--ro-bind", LAUNCHER, _LAUNCHER_INSIDE)
    for each in mounted:
        yield from ("--ro-bind", each.folder, each.location)
    yield from ("--remount-ro", "/", "--chdir", "/app")


def system_mounts() -> Iterator[str | Path]:
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), path)
        else:
            yield from ("--ro-bind-try", path, path)
    for name in _ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    yield from ("--ro-bind-try", Path("/etc/resolv.conf").resolve(), "/etc/resolv.conf")
    yield from ("--ro-bind-try", "/sys/devices/system", "/sys/devices/system")
    yield from ("--proc", "/proc", "--dev", "/dev")
    for device in sorted(Path("/dev").glob("nvidia*")):
        yield from ("--dev-bind-try", device, device)


def _bases(environment: Path) -> Iterator[Path]:
    """Where the environment's Python has its standard library, unless that is part of the system."""
    for line in (environment / "pyvenv.cfg").read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home":
            base = Path(value.strip()).parent
            for path in dict.fromkeys((base, base.resolve())):
                if not path.is_relative_to("/usr") and path != Path("/"):
                    yield path


async def find_sandbox(mode: str, bubblewrap: Path | None) -> Sandbox:
    """`mode` is the sandbox setting: auto, bubblewrap or process. Raises SandboxMissing."""
    if mode == "process":
        return Sandbox(None)
    why = "no bwrap was found"
    for flags in (_AS_USER, ()):
        if bubblewrap is not None:
            sandbox = Sandbox(bubblewrap, flags)
            why = await _try_out((bubblewrap, *ISOLATED, *flags, *system_mounts(), "--", "/bin/sh", "-c", ":"))
            if not why:
                return sandbox
    if mode == "bubblewrap":
        raise SandboxMissing(f"sandbox=bubblewrap, but {why}: install bubblewrap, or set sandbox=auto")
    return Sandbox(None)


async def _try_out(command: Sequence[str | Path]) -> str:
    """Why it does not work here; empty when it does."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command, env={}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        return f"{command[0]} cannot be started ({error.strerror})"
    output, _ = await child.communicate()
    return "" if child.returncode == 0 else f"it fails here: {output.decode(errors='replace').strip()}"
