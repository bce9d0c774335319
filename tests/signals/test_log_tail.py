"""The end of log files, looked at again and again: every line once, also across a rotation and a torn line."""

from pathlib import Path

from events.base import DeploymentId
from events.signals.log_lines import LogFiles, LogLine
from events.signals.log_tail import LogTail

MINE = DeploymentId("d1")


def line(ts_ns: int, source: str = "build") -> LogLine:
    return LogLine(ts_ns=ts_ns, message=f"line {ts_ns}", source=source)


def test_each_look_gives_what_was_written_since_the_one_before(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    files.write(MINE, line(1))
    tail = LogTail(files, MINE)
    assert tail.look() == []
    files.write(MINE, line(3))
    files.write(MINE, line(2, "r1"))  # A file that was not there when the tail began.
    assert tail.look() == [line(2, "r1"), line(3)]
    assert tail.look() == []


def test_of_one_source_when_asked(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    tail = LogTail(files, MINE, "r1")
    assert tail.look() == []
    files.write(MINE, line(1))
    files.write(MINE, line(2, "r1"))
    assert tail.look() == [line(2, "r1")]


def test_a_rotation_between_two_looks_loses_nothing(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, max_bytes=200)
    files.write(MINE, line(1))
    tail = LogTail(files, MINE)
    tail.look()
    seen = []
    for number in range(2, 40):
        files.write(MINE, line(number))
        if number % 3 == 0:
            seen += tail.look()
    assert [each.ts_ns for each in seen + tail.look()] == list(range(2, 40))


def test_a_line_that_is_being_written_is_given_when_it_is_whole(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    files.write(MINE, line(1))
    tail = LogTail(files, MINE)
    tail.look()
    path, _ = files.newest_two(MINE, "build")
    with path.open("ab", buffering=0) as file:
        file.write(b'{"ts_ns":2,"message":"half')
        assert tail.look() == []
        file.write(b' and half","source":"build"}\n')
    assert [each.message for each in tail.look()] == ["half and half"]
