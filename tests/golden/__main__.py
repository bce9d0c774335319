"""`make golden`: freezes a fixture for every entry of `values.py` that has none. Never rewrites one."""

import sys

from tests.golden.fixtures import freeze

if __name__ == "__main__":
    for name in freeze():
        print(f"frozen: {name}", file=sys.stdout)
