"""`python -m tests.sim [--seed N | --seeds A:B] [--steps N]`: runs the simulator and tells how to repeat a failure."""

import argparse
import random
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.sim.people import ACTS
from tests.sim.run import SETTLE_S, STEPS, Result, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one (default: one by chance)")
    parser.add_argument("--seeds", metavar="A:B", help="run from A up to, not including, B")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"acts of people and mishaps (default {STEPS})")
    parser.add_argument("--jobs", type=int, default=1, help="processes to use (default 1)")
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="virtual seconds allowed after the last fault")
    parser.add_argument("--acts", choices=sorted(ACTS), default="all", help="what people mostly do (default all)")
    asked = parser.parse_args()
    if asked.seeds is not None:
        first, _, end = asked.seeds.partition(":")
        seeds: Iterable[int] = range(int(first), int(end))
    else:
        seeds = (random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed,)
    failed = steps = 0
    for result in results(seeds, asked):
        tell(result)
        steps += result.steps
        failed += bool(result.failure)
    print(f"{steps} steps, {failed} runs failed")
    return 1 if failed else 0


def results(seeds: Iterable[int], asked: argparse.Namespace) -> Iterator[Result]:
    run = partial(run_seed, steps=asked.steps, settle_s=asked.settle, acts=asked.acts)
    if asked.jobs == 1:
        for seed in seeds:
            print(f"seed {seed}", end=": ", flush=True)
            yield run(seed)
        return
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        for result in pool.map(run, seeds, chunksize=4):
            print(f"seed {result.seed}", end=": ")
            yield result


def tell(result: Result) -> None:
    counts = (
        f"{result.events} events, {result.virtual_s:.0f} virtual s, {result.answered}/{result.calls} calls answered"
    )
    print(f"{counts}, log {result.digest[:12]}", flush=True)
    if result.failure:
        print(*result.story, sep="\n")
        print(f"\nFAILED: {result.failure}")
        acts = f' ARGS="--acts {result.acts}"' if result.acts != "all" else ""
        print(f"repeat: make sim SEED={result.seed} STEPS={result.steps}{acts}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
