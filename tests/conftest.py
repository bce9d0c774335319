"""How workers share the tests: one has all that needs the real stack, where it mostly waits; others have the rest.
And which S3 they speak to."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

STACK = "tests/e2e"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--s3", metavar="URL", help="the S3 that tests speak to, as `make test-s3` starts one; else moto")


class _OneStack(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return STACK if file.startswith(f"{STACK}/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _OneStack:
    return _OneStack(config, log)
