"""Throw-away environments for the peers that come as wheels: `.cache/bench/<name>`, pinned by `requirements/`."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.config import CHECKOUT

NAMES = ("routers", "litellm", "ray")


@dataclass(frozen=True)
class Environment:
    name: str
    folder: Path

    def program(self, program: str) -> Path:
        return self.folder / "bin" / program


def environment(name: str) -> Environment:
    return Environment(name, CHECKOUT / ".cache" / "bench" / name)


def make_all() -> dict[str, str]:
    """Every environment of the gateway's peers; gives the ones that could not be made, and why."""
    return {name: reason for name in NAMES if (reason := make(environment(name)))}


def make(one: Environment) -> str | None:
    """From its pinned and hashed list; why it could not be made."""
    requirements = CHECKOUT / "requirements" / f"bench-{one.name}.txt"
    uv = str(Path(sys.executable).parent / "uv")
    print(f"{one.folder} from {requirements.name} …", file=sys.stderr, flush=True)
    python = one.program("python")
    if not python.exists():
        venv = (uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(one.folder))
        made = subprocess.run(venv, check=False)
        if made.returncode:
            return f"`uv venv` ended with {made.returncode}"
    sync = (uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(requirements))
    made = subprocess.run(sync, check=False)
    return f"`uv pip sync {requirements.name}` ended with {made.returncode}" if made.returncode else None
