"""`python -m tests.gateway.fuzz [--cases N] [--seed S] [--jobs J]`: handmade cases, then random ones from a seed."""

import argparse
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.gateway.fuzz.run import prepare, work

BATCH = 2000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many (default 1000000)")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(1_000_000)), help="default: by chance")
    parser.add_argument("--first", type=int, default=0, help="the number of the first random case")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes to use")
    asked = parser.parse_args()
    began_s, tally = time.monotonic(), Counter[str]()
    end = asked.first + asked.cases
    batches = [range(at, min(at + BATCH, end)) for at in range(asked.first, end, BATCH)]
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn"), initializer=prepare) as pool:
        for done, outcome in enumerate(pool.map(partial(work, asked.seed), [None, *batches]), start=1):
            tally += outcome.tally
            if outcome.failed is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                name, case, reason = outcome.failed
                print(f"FAILED: {name}\n{case}\n{reason}")
                print(f"repeat: make fuzz SEED={asked.seed} CASES={asked.cases}", flush=True)
                return 1
            if done % 25 == 0:
                tell(asked.seed, tally, time.monotonic() - began_s)
    tell(asked.seed, tally, time.monotonic() - began_s)
    print("\n".join(f"{count:>9} {how}" for how, count in sorted(tally.items())))
    return 0


def tell(seed: str, tally: Counter[str], spent_s: float) -> None:
    cases = tally.total()
    print(f"seed {seed}: {cases} cases hold, {cases / spent_s:.0f} a second", flush=True)


if __name__ == "__main__":
    sys.exit(main())
