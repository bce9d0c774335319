"""What several tests of commands share."""

from collections.abc import Iterator

import pytest

from tests.ops.api import Api


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()
