"""The published schema is generated, complete, and checked."""

import json
from pathlib import Path
from typing import get_args

import pytest

from events.union import AnyEvent
from ops.schema import main, schema


def test_every_event_is_in_the_schema_under_its_tag() -> None:
    document = json.loads(schema())
    tags = {str(kind.__struct_config__.tag) for kind in get_args(AnyEvent)}
    assert set(document["properties"]["event"]["discriminator"]["mapping"]) == tags


def test_a_schema_that_lags_behind_is_refused_with_the_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "schema.json"
    assert main([], file) == 0
    assert main(["--check"], file) == 0
    file.write_text(file.read_text().replace("ReplicaReady", "ReplicaWilling"))
    assert main(["--check"], file) == 1
    said = capsys.readouterr()
    assert "ReplicaReady" in said.out and "make schema" in said.err
