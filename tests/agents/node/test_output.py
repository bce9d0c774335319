"""What a replica prints becomes log lines once, across agents, and names the reason of its end."""

import os
import threading
from pathlib import Path

import pytest

from agents.effects.last_words import last_words
from agents.effects.output import Output
from events.base import DeploymentId, ReplicaId
from events.signals.log_lines import LogFiles, parse_line

D, R = DeploymentId("d"), ReplicaId("r")


def output(folder: Path) -> Output:
    return Output(folder / "output.log", folder / "secrets", LogFiles(folder / "logs"), threading.Lock(), D, R)


def said(folder: Path) -> list[str]:
    return [line.message for line in LogFiles(folder / "logs").query(D, newest_first=False)]


def test_lines_are_converted_once_by_whoever_reads_on(tmp_path: Path) -> None:
    with (tmp_path / "output.log").open("ab", buffering=0) as child:
        child.write(b"one\ntw")
        output(tmp_path).convert()
        assert said(tmp_path) == ["one"]
        child.write(b'o\n{"levelname": "ERROR", "message": "three"}\nfour')
        output(tmp_path).convert()
        output(tmp_path).convert()
        assert said(tmp_path) == ["one", "two", "three"]
        output(tmp_path).convert(to_the_end=True)
    assert said(tmp_path) == ["one", "two", "three", "four"]


def test_disk_space_of_what_was_read_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes((b"x" * 1023 + b"\n") * 4096)
    os.sync()
    before = path.stat()
    output(tmp_path).convert()
    after = path.stat()
    assert after.st_size == before.st_size
    if after.st_blocks == before.st_blocks:
        pytest.skip("this file system cannot give parts of a file back")
    assert after.st_blocks * 512 < 1 << 20
    assert len(LogFiles(tmp_path / "logs").query(D, limit=5000)) == 4096


TRACEBACK = 'Traceback (most recent call last):\n  File "main.py", line 3\n    x = y\nValueError: no weights\n'
DEEP = """Traceback (most recent call last):
  File "/app/model_wrapper.py", line 464, in load
    self._load_impl()
  File "/app/model/model.py", line 7, in load
    weights = json.load(self.file)
  File "/environment/lib/python3.11/site-packages/some/model/reader.py", line 293, in load
    return cls(**kw).decode(s)
%s
"""


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("", ""),
        ("hello\n", "hello"),
        (TRACEBACK, "ValueError: no weights"),
        (TRACEBACK + "INFO: Shutting down\nFinished server process [3]\n", "ValueError: no weights"),
        (DEEP % "KeyError: 'weights'", "KeyError: 'weights' (model/model.py, line 7)"),
        (
            DEEP % "ModuleNotFoundError: No module named 'torch'",
            "ModuleNotFoundError: No module named 'torch' (model/model.py, line 7);"
            " add the package that brings it to requirements in config.yaml",
        ),
        ("ERROR: [Errno 98] address already in use\nbye\n", "ERROR: [Errno 98] address already in use"),
        ("Killed\nFinished server process [3]\n", "Killed"),
        (
            '{"levelname": "ERROR", "message": "Exception while loading model", "exc_info": "'
            + TRACEBACK.replace('"', "'").replace("\n", "\\n")
            + '"}\n{"levelname": "INFO", "message": "Trying shut down after failed model load."}\n',
            "ValueError: no weights",
        ),
    ],
)
def test_the_last_words_are_those_that_mean_something(printed: str, reason: str) -> None:
    assert last_words([parse_line(line, source=R, ts_ns=0) for line in printed.splitlines()]) == reason


def test_the_values_of_secrets_are_not_among_the_last_words(tmp_path: Path) -> None:
    """They become part of an event, which is for ever."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("open sesame\n")
    (tmp_path / "secrets" / "pin").write_text("1")
    (tmp_path / "secrets" / "empty").write_text("")
    (tmp_path / "output.log").write_text(f"{TRACEBACK[:-1]} for 'open sesame' and 1\n")
    assert output(tmp_path).last_words() == "ValueError: no weights for '[secret token]' and 1"


def test_of_a_secret_that_begins_with_another_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "a").write_text("open")
    (tmp_path / "secrets" / "b").write_text("open sesame")
    (tmp_path / "output.log").write_text(f"{TRACEBACK[:-1]} for 'open sesame' and 'open'\n")
    assert output(tmp_path).last_words() == "ValueError: no weights for '[secret b]' and '[secret a]'"
