"""`make setup`: makes the virtual environments from the pinned, hashed requirements, and does nothing the second time.

Runs on the machine's own Python with nothing but its standard library. A lock makes concurrent calls wait for
each other; a stamp of everything an environment is made of says whether there is anything to do.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PLANE = CHECKOUT / ".venv"
TRUSS = CHECKOUT / ".venv-truss"
REQUIREMENTS = {PLANE: "dev.txt", TRUSS: "truss.txt"}
STAMP = ".causeway-stamp"

COMMAND = """#!{python}
import sys

sys.path[0] = {checkout!r}
from ops.cli import main

sys.exit(main())
"""


def main() -> int:
    """Brings both environments up to date; the exit status."""
    (CHECKOUT / ".cache").mkdir(exist_ok=True)
    with (CHECKOUT / ".cache" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            for folder in REQUIREMENTS:
                ensure(folder)
        except subprocess.CalledProcessError as error:
            print(
                f"setup: `{' '.join(map(str, error.cmd))}` failed with {error.returncode}; see above", file=sys.stderr
            )
            return 1
    return 0


def ensure(folder: Path) -> None:
    """Makes or updates one environment, if its stamp does not match."""
    stamp, wanted = folder / STAMP, wanted_stamp(folder)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    began_s = time.monotonic()
    requirements = CHECKOUT / "requirements" / REQUIREMENTS[folder]
    print(f"setup: {folder.name} from requirements/{requirements.name} …", flush=True)
    if not fits(folder):
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)
    stamp.unlink(missing_ok=True)
    if folder == PLANE:
        install_uv(requirements)
    # The truss tools run behind a fence that cannot write bytecode: compiled once, each build saves seconds.
    compiled = ["--compile-bytecode"] if folder == TRUSS else []
    uv = PLANE / "bin" / "uv"
    run(uv, "pip", "sync", "--quiet", "--require-hashes", *compiled, "--python", python_of(folder), requirements)
    if folder == PLANE:
        write_command()
    stamp.write_text(wanted)
    print(f"setup: {folder.name} is ready ({time.monotonic() - began_s:.0f} s)", flush=True)


def wanted_stamp(folder: Path) -> str:
    """What the environment is made of: where it is, by which Python, from which packages, by which recipe."""
    recipe = (CHECKOUT / "requirements" / REQUIREMENTS[folder], Path(__file__))
    parts = [str(folder), *map(str, sys.version_info[:3]), *(path.read_text() for path in recipe)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def fits(folder: Path) -> bool:
    """Whether the environment is there, in the place it was made for, and its Python is ours."""
    if not python_of(folder).exists():
        return False
    needed = "pip, sys" if folder == PLANE else "sys"
    script = f"import {needed}; print(sys.prefix, *sys.version_info[:3])"
    answer = subprocess.run([python_of(folder), "-c", script], capture_output=True, text=True, check=False)
    return answer.stdout.split() == [str(folder), *map(str, sys.version_info[:3])]


def make(folder: Path) -> None:
    """An empty environment, with pip only where uv is not there yet."""
    options = [] if folder == PLANE else ["--without-pip"]
    made = subprocess.run(
        [sys.executable, "-m", "venv", *options, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        print(made.stdout.strip())
        print(
            "setup: this Python cannot make virtual environments; on Debian and Ubuntu install `python3-venv`,"
            " or set PYTHON to another one: make setup PYTHON=/path/to/python3.12",
            file=sys.stderr,
        )
        raise subprocess.CalledProcessError(made.returncode, made.args)


def install_uv(requirements: Path) -> None:
    """uv itself, by the version and the hashes that the requirements pin."""
    pinned = re.search(r"^uv==.*(?:\n[ \t].*)*", requirements.read_text(), re.MULTILINE)
    if pinned is None:
        raise SystemExit(f"setup: {requirements} does not pin uv; compile it again from its .in file")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.write(pinned[0] + "\n")
        only_uv.flush()
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        run(python_of(PLANE), "-m", "pip", "install", *options, "--requirement", only_uv.name)


def write_command() -> None:
    """`.venv/bin/causeway`: the command line, from this checkout wherever it is called."""
    command = PLANE / "bin" / "causeway"
    command.write_text(COMMAND.format(python=python_of(PLANE), checkout=str(CHECKOUT)))
    command.chmod(0o755)


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def run(*command: "str | Path") -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
