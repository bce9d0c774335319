"""Which Pythons this machine has. None is ever downloaded: what a model runs on is the operator's choice."""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

_ASK = """
import json, platform, sys, sysconfig
print(json.dumps({
    "version": sys.version.split()[0].rstrip("+"), "base": sys.base_prefix, "path": sys.executable,
    "implementation": sys.implementation.cache_tag, "abi": str(sysconfig.get_config_var("SOABI")),
    "platform": sysconfig.get_platform(), "libc": "-".join(platform.libc_ver())}))
"""
_NAME = re.compile(r"python3\.\d+")


class Interpreter(msgspec.Struct, frozen=True):
    path: Path
    version: str
    """`3.11.7`."""
    base: Path
    """Where its standard library lives: a fenced child must be able to read it."""
    tag: str
    """What compiled packages depend on: implementation, ABI, platform, C library."""

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


class PythonMissing(Exception):
    """The machine lacks the Python that was asked for."""


async def find_interpreter(
    wanted: str | None, own: Path, search: Mapping[str, str], field: str = "python_version"
) -> Interpreter:
    """The machine's Python `wanted` (`3.12`), `own` where that is it or none is named.

    `search` holds the PATH and the HOME to look in. Raises PythonMissing: the field, what is here, and the fix.
    """
    ours = await _ask(own)
    if ours is None:
        raise PythonMissing(f"{own} does not run: set up the plane's environment again")
    if wanted is None or wanted == ours.minor:
        return ours
    for candidate in _candidates(search):
        if candidate.name == f"python{wanted}" and (found := await _ask(candidate)) is not None:
            return found
    here = {each.minor for path in _candidates(search) if (each := await _ask(path)) is not None} | {ours.minor}
    known = ", ".join(sorted(here, key=lambda minor: [int(part) for part in minor.split(".")]))
    raise PythonMissing(
        f"{field}: Python {wanted} is not on this machine; here are {known}. "
        f"Install Python {wanted} so that `python{wanted}` is on the PATH, or ask for one of these"
    )


def _candidates(search: Mapping[str, str]) -> Iterator[Path]:
    folders = [Path(folder) for folder in search.get("PATH", "").split(os.pathsep) if folder]
    home = search.get("HOME")
    pyenv = search.get("PYENV_ROOT") or (home and f"{home}/.pyenv")
    if pyenv:
        folders += sorted(Path(pyenv).glob("versions/*/bin"), reverse=True)
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue  # PATH may name what is not there.
        yield from (folder / name for name in names if _NAME.fullmatch(name))


async def _ask(python: Path) -> Interpreter | None:
    """None: it does not run (a version manager's shim of a version that is switched off, say)."""
    try:
        child = await asyncio.create_subprocess_exec(
            python, "-I", "-S", "-c", _ASK, env={"PATH": str(python.parent) + ":/usr/bin:/bin"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return None
    said, _ = await child.communicate()
    if child.returncode != 0:
        return None
    facts = msgspec.json.decode(said, type=dict[str, str])
    base = Path(facts["base"])
    real = base / "bin" / f"python{'.'.join(facts['version'].split('.')[:2])}"
    return Interpreter(
        path=real if real.exists() else Path(facts["path"]),
        version=facts["version"],
        base=base,
        tag="-".join((facts["implementation"], facts["abi"], facts["platform"], facts["libc"])),
    )
