"""Every event survives the wire, old versions are lifted to the newest, unknown ones pass through untouched."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings

from events.base import Metadata
from events.codec import CorruptMessage, decode, encode, event_type
from events.environment import PromotionStarted
from events.node import NodeLeft
from events.union import AnyEvent, UnknownEvent
from events.upcasters import UPCASTERS, Upcast
from tests.events.strategies import KINDS, events, instances, metas
from tests.golden.values import META, NODE, VALUES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_type_survives_the_wire(kind: type[AnyEvent]) -> None:
    @settings(max_examples=15, deadline=None)
    @given(instances(kind), metas)
    def survives(event: AnyEvent, meta: Metadata) -> None:
        assert decode(encode(event, meta)) == (event, meta)

    survives()


@settings(max_examples=50, deadline=None)
@given(events, metas)
def test_the_wire_is_plain_json_with_the_type_named(event: AnyEvent, meta: Metadata) -> None:
    message = json.loads(encode(event, meta))
    assert set(message) == {"event", "meta"}
    assert message["event"]["type"] == str(event.__struct_config__.tag)
    assert message["meta"]["id"] == meta.id


def _message(**event: Any) -> bytes:
    return json.dumps({"event": event, "meta": json.loads(encode(VALUES["NodeLeft/1"], META))["meta"]}).encode()


# A history of one type as it might go: `NodeGone(id)` became `NodeGone.v2(node)`, which became NodeLeft.
HISTORY: Mapping[str, tuple[str, Upcast]] = {
    "NodeGone": ("NodeGone.v2", lambda old: {"node": old["id"]}),
    "NodeGone.v2": ("NodeLeft", lambda old: {"node_id": old["node"], "reason": "before reasons were kept"}),
}


@pytest.mark.parametrize(
    "old", [{"type": "NodeGone", "id": "node-1"}, {"type": "NodeGone.v2", "node": "node-1"}], ids=["v1", "v2"]
)
def test_a_retired_version_is_lifted_step_by_step_to_the_newest(old: dict[str, Any]) -> None:
    event, meta = decode(_message(**old), HISTORY)
    assert event == NodeLeft(node_id=NODE, reason="before reasons were kept")
    assert meta == META


def test_without_its_upcaster_a_retired_version_is_unknown() -> None:
    event, _ = decode(_message(type="NodeGone", id="node-1"))
    assert isinstance(event, UnknownEvent)


def test_an_upcaster_that_leads_into_the_future_gives_what_it_led_to_as_unknown() -> None:
    towards: Mapping[str, tuple[str, Upcast]] = {"NodeGone": ("NodeGone.v9", lambda old: {"node": old["id"]})}
    event, _ = decode(_message(type="NodeGone", id="node-1"), towards)
    assert event == UnknownEvent("NodeGone.v9", '{"node":"node-1","type":"NodeGone.v9"}')


def test_a_retired_version_has_a_named_upcaster_and_no_type_of_its_own() -> None:
    for retired, (_, upcast) in UPCASTERS.items():
        assert retired not in {str(kind.__struct_config__.tag) for kind in KINDS}, f"{retired} is not retired"
        assert upcast.__name__ != "<lambda>", f"the upcaster of {retired} needs a name that says what it changes"


def test_an_event_of_a_newer_version_keeps_its_type_and_its_body() -> None:
    event, meta = decode(_message(type="NodeUpgraded.v3", node_id="node-1", to={"version": 7}))
    assert isinstance(event, UnknownEvent)
    assert event_type(event) == "NodeUpgraded"
    assert json.loads(event.body) == {"type": "NodeUpgraded.v3", "node_id": "node-1", "to": {"version": 7}}
    assert meta == META


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    event, _ = decode(_message(type="NodeLeft", node_id="node-1", reason="r", temperature=3))
    assert event == NodeLeft(node_id=NODE, reason="r")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"event":{"type":"NodeLeft","node_id":"n","reason":"r"}}',
        b'{"event":{"node_id":"n"},"meta":{}}',
        _message(type="NodeLeft", node_id="n"),
        _message(type="NodeLeft", node_id=7, reason="r"),
    ],
)
def test_what_no_version_can_have_written_is_corrupt(octets: bytes) -> None:
    with pytest.raises(CorruptMessage):
        decode(octets)


def test_a_word_outside_its_literal_is_corrupt() -> None:
    body = json.loads(encode(VALUES["PromotionStarted/1"], META))["event"]
    assert isinstance(decode(_message(**body))[0], PromotionStarted)
    with pytest.raises(CorruptMessage):
        decode(_message(**(body | {"cleanup": "BURN"})))
