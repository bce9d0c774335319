"""Log lines: parsed from children, kept in bounded files, found again, whatever a kill left behind."""

import json
from pathlib import Path

import pytest

from events.base import DeploymentId
from events.signals.log_lines import LogFiles, LogLine, parse_line

MINE = DeploymentId("abc")


def line(ts_ns: int, message: str, source: str = "build", **more: str) -> LogLine:
    return LogLine(ts_ns=ts_ns, message=message, source=source, **more)  # type: ignore[arg-type]


def messages(found: list[LogLine]) -> list[str]:
    return [each.message for each in found]


def test_lines_of_all_sources_come_back_in_the_order_of_their_time(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    for each in (line(1, "one"), line(3, "three"), line(2, "two", "replica-1"), line(3, "three again")):
        logs.write(MINE, each)
    assert messages(logs.query(MINE, newest_first=False)) == ["one", "two", "three", "three again"]
    assert messages(logs.query(MINE, limit=2)) == ["three again", "three"]
    assert logs.sources(MINE) == ("build", "replica-1")


def test_every_filter_narrows(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    logs.write(MINE, line(1, "starting"))
    logs.write(MINE, line(2, "Disk is full", level="error"))
    logs.write(MINE, line(3, "stopping", "replica-1", level="warning"))
    assert messages(logs.query(MINE, min_level="warning")) == ["stopping", "Disk is full"]
    assert messages(logs.query(MINE, start_ns=2, end_ns=3)) == ["Disk is full"]
    assert messages(logs.query(MINE, source="replica-1")) == ["stopping"]
    assert messages(logs.query(MINE, contains="disk")) == ["Disk is full"]
    assert logs.query(DeploymentId("other")) == []


def test_files_stay_within_their_bound_and_the_newest_lines_stay(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, max_bytes=2000, files=3)
    for n in range(500):
        logs.write(MINE, line(n, f"line {n}"))
    kept = messages(logs.query(MINE, limit=1000, newest_first=False))
    assert kept == [f"line {n}" for n in range(500 - len(kept), 500)] and len(kept) > 30
    sizes = [path.stat().st_size for path in (tmp_path / "deployments" / MINE).iterdir()]
    assert len(sizes) == 3 and max(sizes) < 2200


def test_a_torn_line_is_skipped_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    before = LogFiles(tmp_path)
    before.write(MINE, line(1, "whole"))
    with (tmp_path / "deployments" / MINE / "build.jsonl").open("ab") as torn:
        torn.write(b'{"ts_ns":2,"mess')
    assert messages(before.query(MINE)) == ["whole"]
    after = LogFiles(tmp_path)
    after.write(MINE, line(3, "after the kill"))
    assert messages(after.query(MINE, newest_first=False)) == ["whole", "after the kill"]


def test_a_truss_server_record_keeps_its_level_request_and_trace() -> None:
    record = {
        "asctime": "2026-11-21 19:00:00", "levelname": "ERROR", "message": "predict failed",
        "exc_info": "Traceback: boom", "request_id": "r-1",
    }  # fmt: skip
    parsed = parse_line(json.dumps(record) + "\n", source="replica-1", ts_ns=7)
    assert parsed == line(7, "predict failed\nTraceback: boom", "replica-1", level="error", request_id="r-1")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("plain words", "info"),
        ("WARNING: old thing", "warning"),
        ("error: no such package", "error"),
        ("[DEBUG] x", "debug"),
        ('{"not": "a record"}', "info"),
        ('{"torn', "info"),
        ("", "info"),
    ],
)
def test_plain_text_is_a_line_as_it_stands(text: str, level: str) -> None:
    parsed = parse_line(text, source="build", ts_ns=1)
    assert (parsed.level, parsed.message) == (level, text)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a log"):
        LogFiles(tmp_path).write(MINE, line(1, "x", name))
