"""`make test-s3`: what speaks S3, tested against a real Ceph RGW that is started for it and ends with it.

    python -m tests.s3 [what pytest takes]

The same tests run against moto in `make test`; those in this folder need a store that looks at keys, and run here only.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.s3.ceph import CephMissing, ceph
from tests.weights.s3 import ACCESS_KEY, SECRET_KEY

TESTS = (
    "tests/contract/test_objects.py",
    "tests/agents/weights/test_sources.py",
    "tests/agents/weights/test_bucket.py",
    "tests/ops/test_archive.py",
    "tests/s3",
)


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="causeway-ceph-") as folder:
        try:
            with ceph(Path(folder) / "ceph", ACCESS_KEY, SECRET_KEY) as store:
                print(f"Ceph RGW at {store.url} after {time.monotonic() - began:.0f} s", flush=True)
                command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--s3={store.url}", *TESTS]
                return subprocess.run([*command, *sys.argv[1:]], check=False).returncode
        except (CephMissing, ChildProcessError, subprocess.TimeoutExpired) as error:
            print(f"test-s3: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
