"""Which way to cut weights into chunks: how many bytes each moves, for changes that checkpoints really go through.

A checkpoint is laid out as safetensors lays it out (a header, then tensors one after the other) with the shapes of a
small language model. What counts is the share of the changed files' bytes that lie in chunks which the first version
does not have: that is what has to be stored and fetched again.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec
from pyfastcdc import FastCDC

from agents.weights.chunks import Cutter
from agents.weights.manifest import chunk_hash
from ops.bench.results import table, write_section

KIB, MIB = 1 << 10, 1 << 20
HIDDEN, INNER, KEYS = 896, 4864, 128
SHARE = 0.05
Tensors = list[bytes]
Cut = Callable[[bytes], Iterator[memoryview | bytes]]


def tensors_of(layers: int, random: Random) -> Tensors:
    """Two bytes a weight: embedding, then a layer's attention, feed-forward and norms."""
    square, narrow, wide, norm = HIDDEN * HIDDEN, HIDDEN * KEYS, HIDDEN * INNER, HIDDEN
    sizes = [16 * MIB]
    for _ in range(layers):
        sizes += [square, narrow, narrow, square, wide, wide, wide, norm, norm]
    return [random.randbytes(2 * size) for size in sizes]


def file_of(tensors: Tensors, more_header: int = 0) -> bytes:
    told, at = {"__metadata__": {"note": "x" * more_header}}, 0
    header: dict[str, object] = dict(told)
    for number, tensor in enumerate(tensors):
        name = f"model.layers.{number:06}.weight"
        header[name] = {"dtype": "BF16", "shape": [len(tensor) // 2], "data_offsets": [at, at + len(tensor)]}
        at += len(tensor)
    text = msgspec.json.encode(header)
    return len(text).to_bytes(8, "little") + text + b"".join(tensors)


def tuned(tensors: Tensors, random: Random) -> Tensors:
    """Whole tensors, drawn until they hold the share of all bytes, are others."""
    left, changed = int(SHARE * sum(map(len, tensors))), list(tensors)
    for index in random.sample(range(len(tensors)), len(tensors)):
        if len(tensors[index]) <= left:
            left -= len(tensors[index])
            changed[index] = random.randbytes(len(tensors[index]))
    return changed


def shapes(tensors: Tensors, random: Random) -> dict[str, list[bytes]]:
    """Name -> the files after the change."""
    third = len(tensors) // 3
    more = [random.randbytes(int(SHARE * sum(map(len, tensors))))]
    return {
        "the same files under another name": [file_of(tensors)],
        f"fine-tune: tensors with {SHARE:.0%} of the bytes": [file_of(tuned(tensors, random))],
        "the same, its header 72 bytes longer": [file_of(tuned(tensors, random), 72)],
        "re-sharded: one file into three": [
            file_of(part) for part in (tensors[:third], tensors[third : 2 * third], tensors[2 * third :])
        ],
        f"{SHARE:.0%} appended": [file_of(tensors + more)],
    }


def fixed(size: int) -> Cut:
    def cut(body: bytes) -> Iterator[memoryview]:
        view = memoryview(body)
        for start in range(0, len(view), size):
            yield view[start : start + size]

    return cut


def by_content(average: int) -> Cut:
    def cut(body: bytes) -> Iterator[memoryview]:
        cdc = FastCDC(avg_size=average, min_size=average // 4, max_size=average * 4)
        for chunk in cdc.cut_buf(body):
            yield chunk.data

    return cut


def ours(body: bytes) -> Iterator[bytes]:
    cutter = Cutter("model.safetensors")
    for start in range(0, len(body), 2 * MIB):
        yield from map(bytes, cutter.feed(body[start : start + 2 * MIB]))
    yield from map(bytes, cutter.rest())


CUTS: dict[str, Cut] = {
    "fixed, 1 MiB": fixed(MIB),
    "fixed, 4 MiB": fixed(4 * MIB),
    "by content, 512 KiB": by_content(512 * KIB),
    "by content, 1 MiB": by_content(MIB),
    "by content, 2 MiB": by_content(2 * MIB),
    "by content, 4 MiB": by_content(4 * MIB),
    "**at tensors, inside by content, 1 MiB (ours)**": ours,
}


def moved(cut: Cut, known: set[str], files: Sequence[bytes]) -> float:
    """The share of the bytes in chunks that are not known."""
    new = {chunk_hash(chunk): len(chunk) for body in files for chunk in cut(body)}
    return sum(size for name, size in new.items() if name not in known) / sum(map(len, files))


def measure(layers: int) -> tuple[list[list[str]], list[str], int]:
    random = Random(1)
    tensors = tensors_of(layers, random)
    base, changes = file_of(tensors), shapes(tensors, random)
    rows = []
    for name, cut in CUTS.items():
        began = time.perf_counter()
        sizes = [len(chunk) for chunk in cut(base)]
        rate = len(base) / MIB / (time.perf_counter() - began)
        known: set[str] = {chunk_hash(chunk) for chunk in cut(base)}
        rows.append(
            [name, f"{len(sizes):,}", f"{sum(sizes) / len(sizes) / MIB:.2f} MiB", f"{rate:,.0f} MiB/s"]
            + [f"{moved(cut, known, files):.2%}" for files in changes.values()]
        )
    return rows, list(changes), len(base)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.chunking", description=__doc__)
    parser.add_argument("--layers", type=int, default=16, help="of the checkpoint: 29 MB each")
    parser.add_argument("--write", action="store_true", help="into ops/bench/RESULTS.md")
    options = parser.parse_args(arguments)
    rows, names, size = measure(options.layers)
    body = table(["cut", "chunks", "mean", "cutting, no hash", *names], rows)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    said = (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} shared cores ({platform.machine()}, load {load}), Python "
        f"{platform.python_version()}: `python -m ops.bench.chunking --layers {options.layers} --write`. A checkpoint "
        f"of {size / 1e6:,.0f} MB, random bytes; the columns are the share of the changed files that is new. The goal "
        f"for the fine-tune is <= 8 %, and nothing for files that are the same.\n\n"
    )
    print(said + body)
    if options.write:
        write_section("Cutting weights into chunks", said + body)


if __name__ == "__main__":
    main(sys.argv[1:])
