"""Every test here has a plane of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.control.stand import Stand


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with Stand(tmp_path).running() as stand:
        yield stand
