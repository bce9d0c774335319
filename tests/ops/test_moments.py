"""How people name moments."""

from datetime import UTC, datetime, timedelta

import pytest

from ops.moments import BadMoment, Moment, parse_moment, parse_time

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("now", None),
        ("head", None),
        ("42", 42),
        ("0", 0),
        ("15m", NOW - timedelta(minutes=15)),
        ("1.5h ago", NOW - timedelta(hours=1.5)),
        ("2d", NOW - timedelta(days=2)),
        ("2026-11-21T19:30:00Z", NOW - timedelta(minutes=30)),
        ("2026-11-21T19:30", NOW - timedelta(minutes=30)),
        ("2026-11-21 20:30:00+01:00", NOW - timedelta(minutes=30)),
        ("2026-11-21", datetime(2026, 11, 21, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_position_a_time_or_how_long_ago(text: str, meaning: Moment) -> None:
    assert parse_moment(text, NOW) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "-3",
        "15 parsecs",
        "2026-13-01",
        "m",
        "99999999h",
        f"{'9' * 400}w",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "9" * 5000,
    ],
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadMoment, match="write a position"):
        parse_moment(text, NOW)


def test_where_a_time_is_wanted_a_number_alone_is_refused() -> None:
    with pytest.raises(BadMoment):
        parse_time("42", NOW)
