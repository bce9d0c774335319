"""Every event that ever shipped can be read, and means what it meant. ops/docs/adding-an-event.md names the steps."""

from pathlib import Path
from types import MappingProxyType

import pytest

from events.codec import decode, encode, event_type
from events.union import AnyEvent
from tests.events.strategies import KINDS
from tests.golden.fixtures import EVENTS, checksums, digest_of, freeze, path_of
from tests.golden.values import META, VALUES

ADD = "add an entry to tests/golden/values.py, then run `make golden`"


def _current(kind: type[AnyEvent]) -> str:
    """The fixture of the schema version that is written today: `Name`, or `Name.v2` -> `Name/2`."""
    name, _, version = str(kind.__struct_config__.tag).partition(".v")
    return f"{name}/{version or 1}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_type_has_a_frozen_fixture(kind: type[AnyEvent]) -> None:
    name = _current(kind)
    assert name in VALUES, f"no value for {name}: {ADD}"
    assert type(VALUES[name]) is kind, f"{name} must be a {kind.__name__}"
    assert path_of(name).exists(), f"no fixture for {name}: run `make golden`"


@pytest.mark.parametrize("name", sorted(checksums()))
def test_frozen_bytes_decode_to_the_value_that_they_stand_for(name: str) -> None:
    assert name in VALUES, f"nothing says what {name} must decode to: {ADD}"
    event, meta = decode(path_of(name).read_bytes())
    assert event == VALUES[name], (
        f"{name} means something else now: a changed event needs a new version and an upcaster"
    )
    assert meta == META
    assert event_type(VALUES[name]) == name.partition("/")[0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_that_has_shipped_is_still_written_the_same(kind: type[AnyEvent]) -> None:
    """A field added, removed or renamed shows here: it needs a new schema version, `Name.v2`."""
    name = _current(kind)
    assert encode(VALUES[name], META) == path_of(name).read_bytes()


def test_no_frozen_byte_has_changed_and_no_fixture_is_without_a_checksum() -> None:
    files = {path.relative_to(EVENTS).as_posix().removesuffix(".json") for path in EVENTS.rglob("*.json")}
    found = {name: digest_of(path_of(name).read_bytes()) for name in files}
    assert found == checksums()


def test_freezing_adds_what_is_missing_and_rewrites_nothing(tmp_path: Path) -> None:
    name, other = "NodeLeft/1", "NodeLost/1"
    assert freeze(tmp_path, {name: VALUES[name]}) == (name,)
    changed = MappingProxyType({name: VALUES["KeyRevoked/1"], other: VALUES[other]})
    assert freeze(tmp_path, changed) == (other,)
    assert path_of(name, tmp_path).read_bytes() == encode(VALUES[name], META)
    assert freeze(tmp_path, changed) == ()
    assert checksums(tmp_path) == {one: digest_of(path_of(one, tmp_path).read_bytes()) for one in (name, other)}
    path_of(name, tmp_path).unlink()
    assert freeze(tmp_path, changed) == (), "what was frozen once is missed, not made anew"
