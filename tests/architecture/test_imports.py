"""Who may import whom, and who may read the environment."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import CHECKOUT, Source, sources

READS_ENVIRONMENT = {
    "ops/config.py": "the one reader",
    "ops/truss_tools/launch.py": "runs in .venv-truss, where nothing of ours can be imported",
    "agents/effects/serve_control.py": "runs in .venv-truss too; patches of variables change its own environment",
}


def test_every_import_follows_the_contracts() -> None:
    """The contracts stand in pyproject.toml under [tool.importlinter]."""
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [program, "--no-logo", "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {source.name for source in sources() if reads_environment(source)}
    assert readers - READS_ENVIRONMENT.keys() == set()


def reads_environment(source: Source) -> bool:
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "putenv"):
                return True
            case ast.ImportFrom(module="os", names=names) if {each.name for each in names} & {"environ", "getenv"}:
                return True
    return False


def test_only_dispatch_appends_to_the_log() -> None:
    """Every fact goes through one function, so none is written without its expected position."""
    outside = {
        f"{source.name}:{node.lineno}"
        for source in sources()
        if source.name != "handlers/dispatch.py" and not source.name.startswith(("events/log/", "ops/bench"))
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Await)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "append"
        and ast.unparse(node.value.func.value).rpartition(".")[2].strip("_").endswith("log")
    }
    assert outside == set()
