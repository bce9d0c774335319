"""`causeway webhook …`, as typed: what it asks the plane, and what it shows of the answers."""

from pathlib import Path

import pytest

from tests.ops.api import Api
from tests.ops.cli_runs import Shell

SHOWN = {
    "id": "w1", "url": "https://example.com/hook", "types": ["Replica*"], "entities": [], "after": 7, "description": "",
    "created_at": "2026-01-01T00:00:00+00:00", "created_by": "key:k", "position": 12, "open": 3,
    "waits": "answered 503", "dead_letters": 2,
}  # fmt: skip


@pytest.fixture
def remote(tmp_path: Path, api: Api) -> Shell:
    return Shell(tmp_path, None, CAUSEWAY_URL=api.url, CAUSEWAY_API_KEY="prefix.secret")


def test_add_asks_for_one_and_prints_its_secret(remote: Shell, api: Api) -> None:
    api.answer = (200, {**SHOWN, "secret": "whsec_abc"})
    answer = remote.run("webhook add https://example.com/hook --type 'Replica*' --entity m1 --after 7")
    assert answer.code == 0 and "webhook w1" in answer.out and "whsec_abc" in answer.out
    assert api.asked[0][:2] == ("POST", "/v1/webhooks")
    assert api.asked[0][3] == {
        "url": "https://example.com/hook", "types": ["Replica*"], "entities": ["m1"], "after": 7, "description": "",
    }  # fmt: skip


def test_list_shows_how_far_each_is_and_why_it_waits(remote: Shell, api: Api) -> None:
    api.answer = (200, {"webhooks": [SHOWN]})
    [line] = [line for line in remote.run("webhook list").out.splitlines() if line.startswith("w1")]
    assert line.split() == ["w1", "https://example.com/hook", "Replica*", "12", "3", "2", "answered", "503"]
    assert remote.run("webhook list -o json").json == [SHOWN]
    api.answer = (200, {"webhooks": []})
    assert "no webhooks" in remote.run("webhook list").out


def test_move_and_remove_name_the_webhook(remote: Shell, api: Api) -> None:
    api.answer = (200, SHOWN)
    assert remote.run("webhook move w1 https://example.com/new").code == 0
    assert remote.run("webhook remove w/1").code == 0
    assert [(method, path, body) for method, path, _, body in api.asked] == [
        ("PATCH", "/v1/webhooks/w1", {"url": "https://example.com/new"}),
        ("DELETE", "/v1/webhooks/w%2F1", None),
    ]


def test_deliveries_and_dead_letters_say_what_happened(remote: Shell, api: Api) -> None:
    attempt = {
        "position": 9, "event_id": "e", "type": "ReplicaReady", "at": 1767225600.0, "number": 2, "result": "failed",
        "status": 500, "reason": "answered 500", "seconds": 0.25,
    }  # fmt: skip
    api.answer = (200, {"deliveries": [attempt]})
    out = remote.run("webhook deliveries w1 --limit 5").out
    assert "ReplicaReady" in out and "answered 500" in out and "250 ms" in out and "2026-01-01" in out
    assert api.asked[0][1] == "/v1/webhooks/w1/deliveries?limit=5"
    letter = {"position": 9, "attempts": 14, "reason": "answered 422", "given_up_at": "", "redelivering": False}
    event = {"type": "ReplicaReady", "subject": "replica.r1"}
    api.answer = (200, {"dead_letters": [{**letter, "event": event}], "count": 1})
    out = remote.run("webhook dead-letters w1").out
    assert "replica.r1" in out and "answered 422" in out and "14" in out


def test_redeliver_takes_positions_or_all_and_not_both(remote: Shell, api: Api) -> None:
    api.answer = (200, {"redelivering": [9]})
    assert "1 to be sent again" in remote.run("webhook redeliver w1 9").out
    remote.run("webhook redeliver w1 --all")
    assert [each[3] for each in api.asked] == [{"positions": [9]}, {"all": True}]
    assert remote.run("webhook redeliver w1").code == 2 and remote.run("webhook redeliver w1 9 --all").code == 2
