"""Weights into the mirror: what cutting, hashing and storing durably cost beside a copy that looks at nothing.

    python -m ops.bench.mirroring [--mib 512] [--rounds 3] [--write]

Four files of random bytes lie in a folder, in the page cache. Ours is the process that a build starts, with that
folder as its source and another as the blob store; the limit copies them by the kernel's own copy and syncs each once.
Both are processes of their own and take turns.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from agents.effects.weights_child import Job, work
from agents.effects.weights_mirroring import MEMORY
from agents.effects.weights_sources import Access
from agents.weights.wanted import Wanted
from ops.bench.results import table, write_section
from ops.config import load

MIB = 1 << 20
FILES = 4


def stock(folder: Path, mib: int) -> None:
    folder.mkdir()
    for number in range(FILES):
        with (folder / f"model-{number}.bin").open("wb") as file:
            for _ in range(mib // FILES):
                file.write(os.urandom(MIB))


# Each of these is a process. Its last line says what it found.


def ours(source: Path, target: Path) -> dict[str, float]:
    (target / "journals").mkdir(parents=True)
    job = Job(
        Wanted(f"file://{source}", "/weights"),
        None,
        Access(None, {}, (str(source),)),
        str(target / "blobs"),
        str(target / "journals"),
    )
    began, before = time.monotonic(), time.process_time()
    done = asyncio.run(work(job))
    seconds, processor_s = time.monotonic() - began, time.process_time() - before
    assert done.mirrored.bytes_stored == done.mirrored.bytes
    return {"seconds": seconds, "processor_s": processor_s, "memory": done.peak_bytes}


def copy(source: Path, target: Path) -> dict[str, float]:
    target.mkdir()
    began, before = time.monotonic(), time.process_time()
    for path in source.iterdir():
        shutil.copyfile(path, target / path.name)
        handle = os.open(target / path.name, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return {"seconds": time.monotonic() - began, "processor_s": time.process_time() - before}


ROLES = {"ours": ours, "copy": copy}


def child(role: str, source: Path, target: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "ops.bench.mirroring", "--child", role, str(source), str(target)]
    env = dict(load().inherited_env) | MEMORY
    said = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    shutil.rmtree(target)
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def measure(mib: int, rounds: int) -> list[tuple[str, ...]]:
    with tempfile.TemporaryDirectory(prefix="causeway-mirroring-") as scratch:
        source, target = Path(scratch) / "source", Path(scratch) / "target"
        stock(source, mib)
        taken = [{role: child(role, source, target) for role in ("copy", "ours")} for _ in range(rounds)]
    shares = sorted(each["copy"]["seconds"] / each["ours"]["seconds"] for each in taken)
    rows: list[tuple[str, ...]] = []
    for role, what, share in (
        ("copy", "limit", "limit"),
        (
            "ours",
            "ours, every byte hashed, every chunk durable",
            f"{median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})",
        ),
    ):
        seconds = median(each[role]["seconds"] for each in taken)
        busy = median(each[role]["processor_s"] for each in taken) * 1024 / mib
        rows.append(
            (
                f"a folder, in the page cache, to the mirror's folder: {what}",
                f"{mib / seconds:,.0f} MiB/s",
                f"{busy:.2f} s",
                share,
                "",
            )
        )
    memory = max(each["ours"]["memory"] for each in taken)
    rows.append((f"memory of the process, {mib} MiB mirrored", f"{memory / MIB:.0f} MiB at most", "", "", "< 200 MB"))
    return rows


def main(argv: list[str]) -> int:
    if argv[:1] == ["--child"]:
        print(json.dumps(ROLES[argv[1]](Path(argv[2]), Path(argv[3]))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m ops.bench.mirroring", description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args(argv)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    rows = measure(asked.mib, asked.rounds)
    where = f"{platform.machine()}, {os.cpu_count()} shared cores, load {load}, Python {platform.python_version()}"
    body = (
        f"`python -m ops.bench.mirroring --mib {asked.mib} --rounds {asked.rounds}`, {where}. {FILES} files; medians of"
        " the rounds, with the range of their ratios. Processor time is without the start of Python.\n\n"
        + table(("what", "measured", "processor time a GiB", "of its limit", "goal"), rows)
    )
    print(body)
    if asked.write:
        write_section("Mirroring weights", body)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
