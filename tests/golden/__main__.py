"""`make golden`: freezes a fixture for every entry of `values.py` that has none, and the capsule. Rewrites nothing."""

import asyncio
import sys

from tests.golden.fixtures import freeze
from tests.golden.planted import FILE, freeze_planted

if __name__ == "__main__":
    for name in freeze():
        print(f"frozen: {name}", file=sys.stdout)
    if asyncio.run(freeze_planted()):
        print(f"frozen: {FILE.name}", file=sys.stdout)
