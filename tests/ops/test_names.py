"""Names that people use, as they change."""

import pytest

from events.base import DeploymentId
from events.model import DeploymentRenamed
from handlers.deciders.model import model_id_of
from ops.names import NAMES, Names, UnknownName, resolve, resolve_deployment
from tests.histories import history


async def test_who_was_renamed_is_found_by_its_new_name_and_by_its_id() -> None:
    async with history() as plane:
        first = await plane.push()
        events = await plane.log.read()
    names = Names()
    for recorded in events:
        NAMES.evolve(names, recorded)
    assert resolve(names, "iris/deployment-1") == first
    renamed = DeploymentRenamed(
        model_id=model_id_of("default", "iris"), deployment_id=DeploymentId(first), name="winter"
    )
    last = events[-1]
    NAMES.evolve(names, type(last)(last.position, last.stream, renamed, last.meta))
    assert resolve(names, "iris/winter") == resolve_deployment(names, "iris") == resolve(names, first) == first
    with pytest.raises(UnknownName, match="iris/winter"):
        resolve(names, "iris/deployment-1")
