"""What is here needs a store that looks at keys, which moto is not: it is collected where `--s3` names one."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("--s3") is None and collection_path.name.startswith("test_") else None
