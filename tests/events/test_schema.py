"""The published schema states today's events."""

from ops.schema import FILE, schema


def test_the_published_schema_is_current() -> None:
    assert FILE.read_text() == schema(), "events/schema.json lags behind the event types: run `make schema`"
