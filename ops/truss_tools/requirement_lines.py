"""What a model's environment is resolved from: the server's lines, less what the user names, and the user's.

A package that the user names is the user's choice, within the server's constraints, as on the hosted
platform. One resolution takes all lines, where the platform installs a requirements file first and the
server's lines after it: what cannot hold together fails in the build and not at run time. Executed inside
`.venv-truss`.
"""

import re
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from config_problems import BadConfig, Problem  # type: ignore[import-not-found]
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# The server asks for a certifi that lagging indexes do not have; any of the last two years will do.
RELAXED = {"certifi": "certifi>=2025.1.31"}
INCLUDE = re.compile(r"^(-r|-c|--requirement|--constraint)\b")


class ServerLines(NamedTuple):
    """What the model server needs, and the bounds that hold whoever names a package."""

    requirements: list[str]
    constraints: list[str]

    @classmethod
    def read(cls, server_code: Path) -> "ServerLines":
        return cls(
            # Its index line would override the one that this machine is set up with.
            [line for line in lines_of(server_code / "requirements.txt") if not line.startswith("-i ")],
            lines_of(server_code / "constraints.txt"),
        )


class UserLines(NamedTuple):
    """What the project asks for, with the overrides and constraints of its `[tool.uv]`, if it has them."""

    requirements: list[str]
    constraints: list[str]
    overrides: list[str]

    @classmethod
    def read(cls, project: Path, listed: list[str], file: str | None, uv: str) -> "UserLines":
        if file is None:
            return cls(_bare(listed), [], [])
        path = project / file
        if path.name == "uv.lock":
            return cls(_locked(path, uv), [], [])
        if path.name == "pyproject.toml":
            return _from_pyproject(path)
        requirements = lines_of(path)
        for line in requirements:
            if INCLUDE.match(line):
                raise _bad_file(f"{file} refers to another file ({line})", "write that file's lines into it")
        return cls(requirements, [], [])


def combine(server: ServerLines, user: UserLines) -> dict[str, list[str]]:
    named = {name for line in user.requirements if (name := package_of(line))}
    overridden = named | {name for line in user.overrides if (name := package_of(line))}
    return {
        "requirements": [line for line in server.requirements if package_of(line) not in named] + user.requirements,
        "constraints": [line for line in server.constraints if package_of(line) not in RELAXED] + user.constraints,
        "overrides": user.overrides + [line for name, line in RELAXED.items() if name not in overridden],
    }


def lines_of(path: Path) -> list[str]:
    """The lines that say something: continued lines joined, comments gone."""
    return _bare(path.read_text().replace("\\\n", " ").splitlines())


def _bare(lines: Iterable[str]) -> list[str]:
    return [said for line in lines if (said := re.split(r"(?:^|\s)#", line)[0].strip())]


def package_of(line: str) -> str | None:
    """The package that a line names; None for options, paths and bare addresses."""
    try:
        return canonicalize_name(Requirement(line.split(" --hash")[0]).name)
    except InvalidRequirement:
        return None


def _from_pyproject(path: Path) -> UserLines:
    try:
        document = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise _bad_file(f"{path.name} cannot be parsed: {error}", "mend its syntax") from error
    uv = document.get("tool", {}).get("uv", {})
    return UserLines(
        _strings(document.get("project", {}).get("dependencies", [])),
        _strings(uv.get("constraint-dependencies", [])),
        _strings(uv.get("override-dependencies", [])),
    )


def _strings(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def _locked(path: Path, uv: str) -> list[str]:
    command = [uv, "export", "--frozen", "--no-emit-project", "--no-hashes", "--format", "requirements-txt"]
    exported = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    if exported.returncode:
        raise _bad_file(
            f"uv.lock cannot be read: {exported.stderr.strip()}",
            "run `uv lock` beside its pyproject.toml and push both",
        )
    return _bare(exported.stdout.splitlines())


def _bad_file(message: str, fix: str) -> BadConfig:
    return BadConfig(Problem(field="requirements_file", message=message, fix=fix))
