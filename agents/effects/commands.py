"""What a project wants done besides its Python packages: system packages that must be there, and shell commands.

Commands run one by one in the project's application folder, as `RUN` lines would in an image; the environment's Python
is first on the PATH, and `pip install` puts packages beside the model, for the environment is shared and sealed. Inside
the fence the folders have the names that they have in an image, /app and /packages.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from agents.effects.child import run_child
from agents.effects.fence import Fence
from agents.effects.interpreters import Interpreter
from agents.effects.surroundings import for_commands, named_paths

OnLine = Callable[[str], None]

_PIP = """#!/bin/sh
if [ "$1" = install ]; then shift; exec {uv} pip install --no-cache --target {packages} --python {python} "$@"; fi
exec {uv} pip "$@"
"""


class CommandFailed(Exception):
    """A command or what it needs; the text says which."""


class Place(msgspec.Struct, frozen=True):
    """Where commands run and what they may use."""

    out: Path
    """The bundle: app/ and packages/."""
    environment: Path
    python: Interpreter
    uv: Path
    work: Path


async def missing_packages(names: Sequence[str], surroundings: Mapping[str, str]) -> tuple[str, ...] | None:
    """Which Debian packages are not installed; None where that cannot be asked."""
    query = shutil.which("dpkg-query", path=surroundings.get("PATH", "/usr/bin:/bin"))
    if query is None:
        return None
    missing = []
    for name in names:
        child = await asyncio.create_subprocess_exec(
            query, "--show", "--showformat=${db:Status-Status}", "--", name.partition("=")[0].strip(),
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        said, _ = await child.communicate()
        if b"installed" not in said.split(b"\n"):
            missing.append(name)
    return tuple(missing)


async def require_packages(names: Sequence[str], surroundings: Mapping[str, str], on_line: OnLine) -> None:
    missing = await missing_packages(names, surroundings)
    if missing is None:
        on_line(f"warning: this machine has no dpkg; taking it that {', '.join(names)} is installed")
    elif missing:
        raise CommandFailed(
            f"system_packages: not installed on this machine: {', '.join(missing)}. "
            f"Ask its operator to run `apt-get install {' '.join(missing)}`, or remove them from config.yaml"
        )


async def run_commands(
    commands: Sequence[str],
    *,
    place: Place,
    fence: Fence,
    surroundings: Mapping[str, str],
    secrets: Mapping[str, tuple[Path, bytes]],
    on_line: OnLine,
) -> None:
    """`secrets`: name -> where the command expects it, and its value. Raises CommandFailed."""
    if secrets and fence.bubblewrap is None:
        raise CommandFailed(
            "build.secret_to_path_mapping: secrets are shown to a build in a bubblewrap sandbox only; "
            "ask the operator to install bubblewrap"
        )
    app, packages = place.out / "app", place.out / "packages"
    inside = (Path("/app"), Path("/packages")) if fence.bubblewrap else (app, packages)
    env = _environment(place, inside[1], surroundings)
    files = _secret_files(place.work, secrets)

    def masked(line: str) -> str:
        for name, (_, value) in secrets.items():
            line = line.replace(value.decode(errors="replace"), f"<secret {name}>") if value else line
        return line

    try:
        for number, command in enumerate(commands, 1):
            on_line(f"build command {number} of {len(commands)}: {command}")
            fenced = fence.wrap(
                ["/bin/sh", "-c", command],
                cwd=inside[0],
                readable=[place.python.base, place.environment, place.uv, *named_paths(env)],
                writable=[place.work],
                at=[(app, inside[0]), (packages, inside[1])],
                files=files,
            )
            child = await run_child(fenced, env=env, cwd=app, on_line=lambda line: on_line(masked(line)))
            if child.code != 0:
                last = next((line for line in reversed(child.lines) if line.strip()), "it printed nothing")
                raise CommandFailed(f"build command {number} ({command}) ended with code {child.code}: {masked(last)}")
    finally:
        for source, _ in files:
            source.unlink()


def _environment(place: Place, packages: Path, surroundings: Mapping[str, str]) -> dict[str, str]:
    bin_folder = place.work / "bin"
    for folder in (bin_folder, place.work / "home", place.work / "tmp"):
        folder.mkdir(exist_ok=True)
    python = place.environment / "bin" / "python"
    for name in ("pip", "pip3"):
        shim = bin_folder / name
        shim.write_text(_PIP.format(uv=place.uv, packages=packages, python=python))
        shim.chmod(0o755)
    if not (bin_folder / "uv").is_symlink():
        (bin_folder / "uv").symlink_to(place.uv)
    env = for_commands(surroundings, place.work)
    return {
        **env,
        "PATH": os.pathsep.join((str(bin_folder), str(python.parent), env["PATH"])),
        "PYTHONPATH": str(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
        **({} if "UV_CONFIG_FILE" in env else {"UV_NO_CONFIG": "1"}),
    }


def _secret_files(work: Path, secrets: Mapping[str, tuple[Path, bytes]]) -> list[tuple[Path, Path]]:
    files = []
    for number, (place, value) in enumerate(secrets.values()):
        source = work / f"secret-{number}"
        source.write_bytes(value)
        source.chmod(0o400)
        files.append((source, place))
    return files
