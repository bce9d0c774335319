"""One stack for the whole session, gone without a trace at its end; a failed test shows the tails of its logs."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.config import CHECKOUT
from ops.local import attach
from tests.e2e.plane import Plane, processes_of, start, tails

FOLDER = Path(__file__).parent
ENVIRONMENTS = CHECKOUT / ".cache" / "e2e" / "environments"
"""Kept between sessions: they are content-addressed, and to build and delete them takes longer than the tests."""
ORDER = (
    "test_main_job",
    "test_truss_cli",
    "test_stock_releases",
    "test_clients",
    "test_websockets",
    "test_promotions",
    "test_roll_back",
    "test_wheel_models",
    "test_weights",
    "test_bad_input",
    "test_autoscaling",
    "test_subscriptions",
    "test_kill",
)
"""What a reader looks for first comes first; what breaks things on purpose comes last."""
running: list[Path] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(FOLDER)]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(600))
    rank = {name: place for place, name in enumerate(ORDER)}
    ours.sort(key=lambda item: rank.get(item.path.stem, len(ORDER)))
    items[:] = [item for item in items if not item.path.is_relative_to(FOLDER)] + ours


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and item.path.is_relative_to(FOLDER):
        for state in running:
            report.sections += [(f"end of {state.name}/logs/{name}", text) for name, text in tails(state)]
    return report


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    base = tmp_path_factory.mktemp("e2e")
    state = base / "state"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    state.mkdir()
    (state / "environments").symlink_to(ENVIRONMENTS)
    running.append(state)
    started = start(state, base / "home")
    try:
        yield started
    finally:
        attach.down(started.settings)
    left = list(processes_of(state))
    assert not left, f"still there after `down`: {left}"
    running.remove(state)
    shutil.rmtree(base)


@pytest.fixture(scope="module", autouse=True)
def _room(plane: Plane) -> Iterator[None]:
    """What one module deployed does not take room from the next."""
    yield
    asyncio.run(plane.retire())


@pytest.fixture
async def http(plane: Plane) -> AsyncIterator[httpx.AsyncClient]:
    async with plane.http() as caller:
        yield caller
