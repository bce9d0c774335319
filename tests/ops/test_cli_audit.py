"""`causeway audit`: asking it, refused commands, exports, a rebuild."""

from pathlib import Path

import msgspec
import pytest

from events.codec import Recorded
from projections.audit import AuditRow, audit_row
from tests.histories import two_versions_of_iris
from tests.ops.cli_runs import Shell


@pytest.fixture
async def history() -> tuple[Recorded, ...]:
    return await (await two_versions_of_iris()).read()


@pytest.fixture
def shell(tmp_path: Path, history: tuple[Recorded, ...]) -> Shell:
    return Shell(tmp_path / "state", history)


def test_an_export_has_every_matching_row(shell: Shell, tmp_path: Path, history: tuple[Recorded, ...]) -> None:
    file = tmp_path / "trail.ndjson"
    said = shell.run(f"audit export {file} --type Replica*")
    wanted = [row for row in map(audit_row, history) if row.type.startswith("Replica")]
    assert [msgspec.json.decode(line, type=AuditRow) for line in file.read_bytes().splitlines()] == wanted
    assert said.out.startswith(f"{len(wanted)} rows")
    assert "exists already" in shell.run(f"audit export {file}").err
    assert ".parquet" in shell.run(f"audit export {tmp_path / 'trail.csv'}").err


def test_parquet_without_pyarrow_says_how_to_get_it(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    said = shell.run(f"audit export {tmp_path / 'trail.parquet'}")
    assert said.code == 1 and "requirements/parquet.txt" in said.err
    assert not (tmp_path / "trail.parquet").exists()


def test_a_rebuild_says_how_the_live_trail_compares(shell: Shell, history: tuple[Recorded, ...]) -> None:
    checked = shell.run("audit rebuild --check -o json")
    assert (checked.code, checked.json["rebuilt"]["rows"]) == (0, len(history))
    assert checked.json["rebuilt"]["switched"] is False
    assert checked.json["rebuilt"]["compared"]["until"] == len(history)
    assert "the rebuilt one is live" in shell.run("audit rebuild").out


def test_no_refused_command_is_said_so_and_commands_are_no_event_types(shell: Shell) -> None:
    said = shell.run("audit --refused --type StartPromotion")
    assert (said.code, said.out.strip()) == (0, "no refused command matches")
    assert shell.run("audit --type StartPromotion").code == 2, "no such event"


def test_only_postgresql_has_a_reader(shell: Shell) -> None:
    assert "only PostgreSQL" in shell.run("audit reader").err
