"""The benchmark's own C programs: compiled anew for each run, into its temporary folder."""

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent


class NoCompiler(RuntimeError):
    """There is nothing to compile with; the message says what to install."""


def compiled(name: str, folder: Path) -> Path:
    """The program made from `<name>.c`."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompiler(
            "a C compiler is needed for the load generator (Python would be too slow): apt-get install gcc libc6-dev"
        )
    program = folder / name
    command = [compiler, "-O2", "-o", str(program), str(SOURCES / f"{name}.c")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise NoCompiler(f"`{' '.join(command)}` failed: {made.stderr.strip()[-400:]}")
    return program
