"""A capsule's dashboard: the same pages with no plane, no key and no present, for this machine only."""

import re
import socket
from pathlib import Path

import httpx
import pytest

from ops.capsule.file import read
from ops.capsule.pages import NotServed, served
from ops.config import CHECKOUT
from tests.ops.cli_runs import Shell
from tests.ops.test_cli_history import EVENTS

PLANTED = CHECKOUT / "tests" / "golden" / "planted.capsule"


def test_every_page_of_a_capsule_is_shown_and_leads_to_others() -> None:
    capsule = read(PLANTED)
    end, begin = capsule.manifest.end, capsule.manifest.begin
    with served(PLANTED, capsule) as url, httpx.Client(trust_env=False, timeout=60) as browser:
        home = httpx.URL(url)
        assert browser.get(home.join("/")).headers["location"] == "/dashboard"
        seen, left = (
            set[str](),
            ["/dashboard", f"/dashboard?at={end - 1}", f"/dashboard/events/{end}", "/dashboard/audit"],
        )
        while left and len(seen) < 60:
            path = left.pop(0)
            if path in seen:
                continue
            seen.add(path)
            answer = browser.get(home.join(path))
            assert answer.status_code == 200, (path, answer.status_code)
            assert "Sign out" not in answer.text and "data-live" not in answer.text
            left += [each.replace("&amp;", "&") for each in re.findall(r'<a href="(/dashboard[^"]*)"', answer.text)]
        assert len(seen) == 60 and {"/dashboard/environments", f"/dashboard/events/{begin + 1}"} <= seen | set(left)
        assert "end of planted.capsule" in browser.get(url).text
        assert browser.get(url, params={"at": end + 1}).status_code == 400
        assert browser.get(url, headers={"Host": "elsewhere.example"}).status_code == 400
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_a_capsule_that_begins_late_shows_nothing_before_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "late.capsule"
    Shell(tmp_path, EVENTS).run(f"capsule export --from 20 {file}")
    capsule = read(file)
    begin = capsule.manifest.begin
    with served(file, capsule) as url, httpx.Client(trust_env=False, timeout=60) as browser:
        assert "iris/" in browser.get(url, params={"at": begin}).text
        early = browser.get(url, params={"at": begin - 1})
        assert early.status_code == 400 and f"at must be a position from {begin} to" in early.text
        assert "What it changed" in browser.get(f"{url}/events/{begin + 1}").text
        before = browser.get(f"{url}/events/{begin}")
        assert before.status_code == 404 and f"they go from {begin + 1} to" in before.text


def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with (
            pytest.raises(NotServed, match="cannot be listened on"),
            served(PLANTED, read(PLANTED), taken.getsockname()[1]),
        ):
            pass


def test_open_serves_pages_at_a_terminal_or_when_asked(tmp_path: Path) -> None:
    laptop = Shell(tmp_path, None)
    asked = laptop.run(f"capsule open {PLANTED} --dashboard", typed="models\nexit\n")
    assert asked.code == 0 and re.search(r"dashboard: http://127\.0\.0\.1:\d+/dashboard", asked.out)
    assert "dashboard:" in laptop.run(f"capsule open {PLANTED}", typed="exit\n", keys="").out
    assert "dashboard:" not in laptop.run(f"capsule open {PLANTED}", typed="exit\n").out
