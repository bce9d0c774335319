"""Deciding a capsule again: by the code of another checkout, in a process of its own.

`python -m ops.capsule.redecide FILE`, run in the folder of that checkout, prints what `handlers.redecide` finds as one
line of JSON. What this code says of a file, another checkout must be able to say as well: the line is the agreement.
"""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from events.base import ORIGIN
from events.codec import Recorded
from handlers.redecide import Redecided, redecide
from ops.capsule.file import Capsule, CapsuleBroken, aggregates_in, read


class CodeFailed(Exception):
    """The code that was asked to decide again could not."""


def again(capsule: Capsule) -> Redecided:
    """Raises CapsuleBroken: it begins in the middle, and this code folds what was before in another way."""
    begin = capsule.manifest.begin
    known = aggregates_in(capsule)
    if begin > ORIGIN and known is None:
        raise CapsuleBroken(f"it begins at {begin} with states of another version: export one with --from 0")
    return redecide(decisions(capsule.events), begin, known)


def decisions(events: Iterable[Recorded]) -> Iterable[tuple[Recorded, ...]]:
    """The same, one decision after the other."""
    decision: list[Recorded] = []
    for recorded in events:
        decision.append(recorded)
        if recorded.meta.index == recorded.meta.count - 1:
            yield tuple(decision)
            decision = []


async def by_code_in(folder: Path, file: Path) -> Redecided:
    """Raises CodeFailed."""
    if not (folder / "ops" / "capsule" / "redecide.py").is_file():
        raise CodeFailed(f"{folder} is no checkout of Causeway that can decide a capsule again")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.capsule.redecide", str(file.resolve()),
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complaint = await child.communicate()
    if child.returncode != 0:
        raise CodeFailed(f"the code in {folder} failed: {complaint.decode(errors='replace').strip()[-2000:]}")
    return msgspec.json.decode(said, type=Redecided)


def main(arguments: list[str]) -> int:
    (file,) = arguments
    try:
        sys.stdout.write(msgspec.json.encode(again(read(Path(file)))).decode() + "\n")
    except CapsuleBroken as broken:
        sys.stderr.write(f"{broken}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
