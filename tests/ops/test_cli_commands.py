"""What `causeway --help` lists is what there is, and listing it waits for nothing that a command may need."""

import subprocess
import sys

from ops.cli.commands import COMMANDS, in_module, loaded
from ops.config import CHECKOUT

HEAVY = "aiohttp asyncpg nats psutil pyarrow structlog yaml events handlers projections gateway agents ops.cli.session"
HELP = f"""
import sys
from ops.cli import app
try:
    app(["--help"])
except SystemExit as end:
    assert end.code == 0
print("loaded:", *(each for each in {HEAVY.split()} if each in sys.modules))
"""


def test_help_loads_nothing_that_only_a_command_needs() -> None:
    said = subprocess.run((sys.executable, "-c", HELP), cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert all(name in said for commands in COMMANDS.values() for name, _, _ in commands)
    assert said.splitlines()[-1].strip() == "loaded:"


def test_every_command_is_listed_with_what_it_says_of_itself() -> None:
    for commands in COMMANDS.values():
        for name, _, line in commands:
            said = loaded(name).help.split("\n\n")[0].replace("\n", " ")
            assert line == said, f"ops/cli/commands.py does not say of {name} what its own help says"


def test_no_command_is_left_out() -> None:
    modules = [file.stem for file in (CHECKOUT / "ops/cli").glob("*.py") if "def register(" in file.read_text("utf-8")]
    there = {(name, module) for module in modules for name in in_module(module)}
    assert {(name, module) for commands in COMMANDS.values() for name, module, _ in commands} == there
