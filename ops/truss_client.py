"""Runs the untouched truss client against a plane: `causeway truss push` is `truss push`, on our origin.

Everything that the stock client accepts is passed on as it stands, with its exit code and its terminal.
What is set for it: a trussrc of its own with one remote (so `--remote` may be left out), no keyring, no
update check, no proxy for loopback. The client lives in an environment of its own; nothing of truss is
imported here.
"""

import subprocess
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

from projections.stores.whole import write_whole

REMOTE = "causeway"
LAUNCHER = Path(__file__).parent / "truss_tools" / "launch.py"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ToolchainMissing(Exception):
    """The environment that holds the truss client was not built."""


def truss_command(
    url: str,
    api_key: str,
    argv: Sequence[str],
    *,
    toolchain: Path,
    trussrc: Path,
    environ: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The command and the whole environment of the child: the caller's `environ` with our settings on top."""
    origin = url.rstrip("/")
    python = toolchain / "bin" / "python"
    if not python.exists():
        raise ToolchainMissing(f"no truss client at {toolchain}: `make setup` builds it from requirements/truss.txt")
    write_trussrc(trussrc, origin, api_key)
    inherited = dict(environ or {})
    no_proxy = ",".join(filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), *LOOPBACK]))
    settings = {
        "CAUSEWAY_URL": origin,
        "USER_TRUSSRC_PATH": str(trussrc.absolute()),
        "BASETEN_TRUSS_AUTH_KEYRING_DISABLED": "1",
        "TRUSS_NO_UPDATE_CHECK": "1",
        # Empty means unset to the client; left over from a shell they would hide the trussrc.
        "BASETEN_TRUSS_AUTH_REMOTE_URL": "",
        "BASETEN_TRUSS_AUTH_API_KEY": "",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }
    return [str(python), "-P", str(LAUNCHER), *argv], inherited | settings


def write_trussrc(path: Path, origin: str, api_key: str) -> None:
    """Sets our remote and keeps any that the user added; only the owner may read it, for it holds the key."""
    if not urlsplit(origin).scheme.startswith("http"):
        raise ValueError(f"the plane's address must begin with http:// or https://, not {origin!r}")
    remotes = ConfigParser(interpolation=None)
    remotes.read(path)
    remotes[REMOTE] = {"remote_provider": "baseten", "remote_url": origin, "api_key": api_key}
    text = StringIO()
    remotes.write(text)
    write_whole(path, text.getvalue().encode())


def run_truss(
    url: str,
    api_key: str,
    argv: Sequence[str],
    *,
    toolchain: Path,
    trussrc: Path,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Runs the client on the caller's terminal and returns its exit code, 128 + n when signal n ended it."""
    command, child_environ = truss_command(url, api_key, argv, toolchain=toolchain, trussrc=trussrc, environ=environ)
    with subprocess.Popen(command, env=child_environ) as child:
        while True:
            try:
                code = child.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                # The terminal told the child too; what to do about it is the client's choice.
                continue
