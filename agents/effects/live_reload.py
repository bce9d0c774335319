"""What a development deployment's replica has besides: truss's live reload server, and packages of its own to change.

The server's settings lie in the replica's folder, with the patches that it begins with; the agent speaks to it over
HTTP. The model server's own port is the one that is probed: the live reload server stands still while it waits for it.
"""

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from agents.effects import Patched
from agents.effects.probe import get
from agents.effects.replica_folder import Reloader, ReplicaFolder
from events.base import BlobDigest
from projections.patches import Patch, Patches

LAUNCHER = Path(__file__).with_name("serve_control.py")
TOKEN_HEADER = "X-Causeway-Control"
CRASHED = "inference_server_crashed.txt"
"""truss leaves it in the home folder when a model could not be loaded; its next start takes it away."""
_LOADED = "/v1/models/model/loaded"
_CALL_S = 900.0
"""Packages may be large."""
_LOADS_WITHIN_S = 20.0
_ASK_EVERY_S = 0.1

Operations = list[dict[str, Any]]
ReadBlob = Callable[[BlobDigest], Awaitable[bytes]]


class Tools(msgspec.Struct, frozen=True):
    """Of this machine: the environment that holds truss, and uv."""

    venv: Path
    uv: Path


class ControlSettings(msgspec.Struct, frozen=True):
    """What `serve_control.py` reads."""

    listen: str
    port: int
    inference_port: int
    home: str
    command: tuple[str, ...]
    """Starts the model server."""
    uv: str
    token: str
    hash: str
    """truss's hash of the source with the patches."""
    patches: Operations


def copy_environment(sealed: Path, own: Path) -> None:
    """Requirement patches change it, and the sealed one is everybody's. Blocks: for a thread."""
    shutil.copytree(sealed, own, symlinks=True)
    for parent, folders, files in os.walk(own):
        for name in (".", *folders, *files):
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) | stat.S_IWUSR)


async def set_up(
    folder: ReplicaFolder,
    patches: Patches,
    reloader: Reloader,
    *,
    tools: Tools,
    home: Path,
    command: Sequence[str | Path],
    read: ReadBlob,
) -> Reloader:
    """Writes down what the live reload server begins with. Raises OSError, BlobMissing."""
    if not (tools.venv / "bin" / "python").exists():
        raise OSError(f"live reload needs the truss tools at {tools.venv}: run `make setup`")
    begun = patches.chain[: patches.wanted]
    host, _, port = reloader.address.rpartition(":")
    settings = ControlSettings(
        listen=host,
        port=int(port),
        inference_port=int(reloader.inference.rpartition(":")[2]),
        home=str(home),
        command=tuple(map(str, command)),
        uv=str(tools.uv),
        token=reloader.token,
        hash=begun[-1].to_hash if begun else reloader.base_hash,
        patches=await operations(begun, read),
    )
    folder.control_settings.write_bytes(msgspec.json.encode(settings))
    if patches.attempt:
        folder.write_patched(Patched(patches.wanted, patches.attempt, restarted=True))
    return reloader


async def operations(chain: Sequence[Patch], read: ReadBlob) -> Operations:
    found: Operations = []
    for patch in chain:
        found += msgspec.json.decode(await read(patch.operations), type=Operations)
    return found


async def sync(
    reloader: Reloader, patches: Patches, *, home: Path, read: ReadBlob, last_words: Callable[[], str]
) -> Patched:
    began = time.monotonic()
    try:
        restarted, failure, needs_push = await _sync(reloader, patches, home, read, last_words)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        restarted, failure, needs_push = False, f"the live reload server cannot be reached: {error}", False
    return Patched(patches.wanted, patches.attempt, restarted, round(time.monotonic() - began, 3), failure, needs_push)


async def _sync(
    reloader: Reloader, patches: Patches, home: Path, read: ReadBlob, last_words: Callable[[], str]
) -> tuple[bool, str | None, bool]:
    """Whether the model server began anew, what failed, and whether only a push can help."""
    wanted = patches.chain[: patches.wanted]
    async with aiohttp.ClientSession(
        f"http://{reloader.address}",
        headers={TOKEN_HEADER: reloader.token},
        timeout=aiohttp.ClientTimeout(total=_CALL_S),
    ) as http:
        if (await _asked(http, "/control/has_partially_applied_patch"))["result"]:
            return False, "an earlier patch was applied in part only", True
        current = str((await _asked(http, "/control/truss_hash"))["result"])
        have = _have(current, reloader.base_hash, patches)
        if have is None:
            return False, f"the replica's source is {current[:12]}, which is not in the chain of patches", True
        # What it has may have failed, after truss had noted that it has it: the last one is tried again.
        lacking = await operations(wanted[have:] or wanted[-1:], read)
        is_loaded = await _is_loaded(reloader)
        hot = is_loaded and all(each["body"].get("hot_reload") for each in lacking)
        if not hot:
            lacking = [each | {"body": {**each["body"], "hot_reload": False}} for each in lacking]
        restarts = not hot and have < len(wanted)
        if not hot and not restarts and not is_loaded:
            await _asked(http, "/control/restart_inference_server", {})
            restarts = True
        else:
            if restarts:
                # Left by a model that could not be loaded; the one that starts now has not failed yet.
                (home / CRASHED).unlink(missing_ok=True)
            body = {"hash": wanted[-1].to_hash, "prev_hash": current, "patches": lacking}
            error = (await _asked(http, "/control/patch", body)).get("error")
            if error is not None:
                return restarts, _worded(error), error.get("type") in _FINAL
    failure = await _load_failure(reloader, home, last_words) if restarts else None
    return restarts, failure, False


_FINAL = ("inadmissible_patch", "unsupported_patch", "patch_failed_unrecoverable")


def _have(current: str, base_hash: str, patches: Patches) -> int | None:
    """How much of the chain it has. The same source may occur again in it: the last place is as good as any."""
    hashes = (base_hash, *(each.to_hash for each in patches.chain[: patches.wanted]))
    places = [place for place, each in enumerate(hashes) if each == current]
    return places[-1] if places else None


async def _asked(http: aiohttp.ClientSession, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = http.get(path) if body is None else http.post(path, json=body)
    async with request as answer:
        said: dict[str, Any] = await answer.json(content_type=None)
        return said


def _worded(error: dict[str, Any]) -> str:
    return " ".join(str(error.get("msg", error)).split())


async def _is_loaded(reloader: Reloader) -> bool:
    try:
        async with asyncio.timeout(5.0):
            status, _ = await get(reloader.inference, _LOADED)
    except (OSError, EOFError, ValueError, TimeoutError):
        return False
    return status == 200


async def _load_failure(reloader: Reloader, home: Path, last_words: Callable[[], str]) -> str | None:
    """Why the restarted model server could not load; None when it could, or still tries."""
    deadline = time.monotonic() + _LOADS_WITHIN_S
    while time.monotonic() < deadline:
        if await _is_loaded(reloader):
            return None
        if (home / CRASHED).exists():
            return f"the model cannot be loaded: {last_words() or 'it said nothing'}"
        await asyncio.sleep(_ASK_EVERY_S)
    return None
