"""`make bench`: every benchmark in turn, each into its own section of `RESULTS.md`."""

import sys

from ops.bench import log

if __name__ == "__main__":
    sys.exit(log.main(["--write", *sys.argv[1:]]))
