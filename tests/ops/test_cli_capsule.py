"""Capsules as typed: export, open, and every question about the past asked of the file with no broker."""

from pathlib import Path

import pytest

from tests.ops.cli_runs import Shell
from tests.ops.test_cli_history import EVENTS, HEAD, positions


@pytest.fixture
def plane(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EVENTS)


@pytest.fixture
def laptop(tmp_path: Path, plane: Shell) -> Shell:
    """Nothing runs there; the file alone has been brought."""
    plane.run(f"capsule export {tmp_path}/all.capsule")
    return Shell(tmp_path / "laptop", None, CAUSEWAY_CAPSULE=f"{tmp_path}/all.capsule")


def test_export_says_what_went_in_and_what_was_taken_out(plane: Shell, tmp_path: Path) -> None:
    answer = plane.run(f"capsule export --from 5 --to {HEAD} {tmp_path}/c")
    assert answer.code == 0 and f"positions 5 to {HEAD}, {HEAD - 5} events" in answer.out
    assert "nothing had to be taken out" in answer.out
    assert "taken out: KeyIssued.hash, 1 times" in plane.run(f"capsule export {tmp_path}/c").out
    manifest = plane.run(f"capsule export {tmp_path}/c -o json").json
    assert (manifest["begin"], manifest["end"], manifest["events"]) == (0, HEAD, HEAD)
    assert manifest["code"]["version"] and len(manifest["event_schema"]) == 64


@pytest.mark.parametrize(
    "line",
    [
        "state -o json", "state routing --at 20 -o json", "state iris/production", "diff 10 now", "why iris/production",
        "blame iris/deployment-2", "step --from 5 --to 9 -o json", "timeline iris/deployment-1", "events -n 3",
        "audit --actor 'reactor:*' -o json", "models", "deployments", "env list",
        "bisect 'len(deployments.models) == 0'",
        "explain r-1 --position 40 --deployment iris/deployment-2",
    ],
)  # fmt: skip
def test_a_capsule_answers_as_the_plane_does(plane: Shell, laptop: Shell, line: str) -> None:
    here, there = plane.run(line), laptop.run(line)
    assert there.out == here.out != "" and there.code == here.code == 0


def test_the_file_may_be_named_before_the_command(plane: Shell, tmp_path: Path) -> None:
    (_, second) = positions("PromotionCompleted")
    plane.run(f"capsule export --from {second - 1} {tmp_path}/late.capsule")
    laptop = Shell(tmp_path / "laptop", None)
    asked = f"--capsule {tmp_path}/late.capsule"
    assert laptop.run(f"{asked} state iris/production").out == plane.run("state iris/production").out
    early = laptop.run(f"{asked} state --at 3")
    assert early.code == 1 and f"the history begins at position {second - 1}" in early.err
    why = laptop.run(f"{asked} why iris/production")
    found = laptop.run(f"{asked} bisect \"environment('iris/production').current == 'nobody'\"")
    assert f"it does not hold at {second - 1} already" in found.err, "it begins where the file does"
    assert f"positions {second - 1} to" in laptop.run(f"{asked} capsule export {tmp_path}/copy").out
    told, begun, *_ = why.out.splitlines()
    assert "not in this history" in told and begun.split()[:3] == ["first", "here", str(second)]


def test_open_says_what_it_is_and_takes_commands(laptop: Shell, plane: Shell, tmp_path: Path) -> None:
    file = f"{tmp_path}/all.capsule"
    bare = Shell(tmp_path / "bare", None)
    answer = bare.run(f"capsule open {file}", typed="state routing --at 5\n\nblame 'oops\nwhy nobody\nmodels\nexit\nx")
    assert f"{file}: positions 0 to {HEAD}" in answer.out.splitlines()[0]
    assert plane.run("state routing --at 5").out in answer.out and "iris" in answer.out.splitlines()[-1]
    assert "No closing quotation" in answer.err and "nothing is called 'nobody'" in answer.err
    assert bare.run(f"capsule open {file} -o json").json["end"] == HEAD


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("whatif iris/deployment-1", "a capsule holds no"),
        ("logs iris/deployment-1", "a capsule holds no log lines"),
        ("promote iris/deployment-1", "a capsule holds no plane that could be told"),
    ],
)
def test_what_a_capsule_cannot_do_says_so(laptop: Shell, line: str, said: str) -> None:
    answer = laptop.run(line)
    assert answer.code != 0 and said in answer.err


def test_a_wrong_range_or_file_is_refused(plane: Shell, tmp_path: Path) -> None:
    assert "--from 9 is after --to 4" in plane.run(f"capsule export --from 9 --to 4 {tmp_path}/c").err
    assert "there is no folder" in plane.run(f"capsule export {tmp_path}/none/c").err
    (tmp_path / "d.part").mkdir()
    answer = plane.run(f"capsule export {tmp_path}/d")
    assert answer.code == 2 and "cannot be written: Is a directory" in answer.err and "name another FILE" in answer.err
    (tmp_path / "c").write_bytes(b"nonsense")
    answer = plane.run(f"--capsule {tmp_path}/c state")
    assert answer.code == 1 and "no whole capsule" in answer.err
