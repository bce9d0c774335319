"""Lays an unpacked project out as a bundle, with truss's own build-context code in an interpreter of its own."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agents.effects.child import run_child
from agents.effects.fence import Fence
from agents.effects.surroundings import for_uv
from agents.weights.wanted import Wanted

_REFUSED = 2


class BadProject(Exception):
    """The project cannot become a bundle; the text names the field and the fix."""


class Toolchain(msgspec.Struct, frozen=True):
    """The truss tools: the environment that holds truss, and our script that runs in it."""

    venv: Path
    script: Path
    uv: Path

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"


class External(msgspec.Struct, frozen=True):
    url: str
    local_data_path: str
    backend: str = "http_public"


class Bundle(msgspec.Struct, frozen=True):
    """What the builder needs of bundle.json; the node reads the rest."""

    truss_hash: str
    truss_signature: str
    requirements: tuple[str, ...]
    python_version: str | None = None
    """None: the project does not say, so the plane's own."""
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    build_commands: tuple[str, ...] = ()
    build_secrets: dict[str, str] = {}
    external_data: tuple[External, ...] = ()
    weights: tuple[Wanted, ...] = ()
    warnings: tuple[str, ...] = ()


async def lay_out(
    project: Path,
    out: Path,
    *,
    toolchain: Toolchain,
    fence: Fence,
    surroundings: Mapping[str, str],
    work: Path,
    on_line: Callable[[str], None],
) -> Bundle:
    """Makes OUT/app, OUT/packages, OUT/bundle.json. Raises BadProject."""
    if not toolchain.python.exists():
        raise BadProject(f"the plane has no truss tools at {toolchain.venv}: run `make setup`, then push again")
    out.mkdir()
    env = for_uv(surroundings, work)
    base = toolchain.python.resolve().parent.parent
    fenced = fence.wrap(
        [toolchain.python, toolchain.script, project, out, "--uv", toolchain.uv],
        cwd=work,
        readable=[base, toolchain.venv, toolchain.script.parent, toolchain.uv, project],
        writable=[work, out],
    )
    said: list[str] = []

    def sort(line: str) -> None:
        (said.append if line.startswith("{") else on_line)(line)

    child = await run_child(fenced, env=env, cwd=work, on_line=sort)
    report = _report(said)
    for warning in report.get("warnings", ()):
        on_line(f"warning: {warning}")
    if child.code == _REFUSED and report.get("errors"):
        raise BadProject("; ".join(_worded(error) for error in report["errors"]))
    if child.code != 0:
        why = next((line for line in reversed(child.lines) if line.strip()), f"exit code {child.code}")
        raise BadProject(f"the project cannot be laid out: {why}")
    return msgspec.json.decode(await asyncio.to_thread((out / "bundle.json").read_bytes), type=Bundle)


def _report(said: list[str]) -> dict[str, Any]:
    for line in reversed(said):
        try:
            report = json.loads(line)
        except ValueError:
            continue  # A library printed something that looked like one.
        if isinstance(report, dict):
            return report
    return {}


def _worded(error: Mapping[str, str]) -> str:
    return f"{error['field']} {error['message']}: {error['fix']}"
