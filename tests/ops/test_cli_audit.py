"""`causeway audit`: asking it, refused commands, exports, a rebuild."""

from pathlib import Path

import msgspec
import pytest

from events.codec import Recorded
from ops.cli.audit import address_for
from projections.audit import AuditQuery, AuditRow, audit_row
from projections.stores.audit import AuditUnavailable, MemoryAuditStore
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
    said = shell.run(f"audit export {tmp_path / 'no-such-folder' / 'trail.ndjson'}")
    assert said.code == 1 and "cannot be written: No such file" in said.err


def test_an_export_that_breaks_off_leaves_no_file(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(store: MemoryAuditStore, query: AuditQuery) -> tuple[AuditRow, ...]:
        if query.after == 0:
            return given(query)
        raise AuditUnavailable("PostgreSQL does not take part")

    def given(query: AuditQuery) -> tuple[AuditRow, ...]:
        return tuple(map(audit_row, shell.history or ()))[: query.limit]

    monkeypatch.setattr(MemoryAuditStore, "page", away)
    monkeypatch.setattr("ops.cli.audit.PAGE", 3)
    said = shell.run(f"audit export {tmp_path / 'trail.ndjson'}")
    assert said.code == 1 and "does not take part" in said.err
    assert not (tmp_path / "trail.ndjson").exists()


def test_one_goes_back_from_a_position(shell: Shell, history: tuple[Recorded, ...]) -> None:
    for command in ("audit", "events"):
        said = shell.run(f"{command} --before 9 -n 3 -o json")
        assert [msgspec.json.decode(line)["position"] for line in said.out.splitlines()] == [6, 7, 8], command
    correlation = audit_row(history[0]).correlation_id
    assert str(history[0].position) in shell.run(f"audit --correlation {correlation} --before 2").out
    said = shell.run("events --follow --before 9")
    assert said.code == 2 and "leave one of them out" in said.err


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://postgres@/causeway?host=/run/pg", "postgresql://reader@/causeway?host=/run/pg"),
        ("postgresql://owner:secret@db.example:5433/causeway", "postgresql://reader@db.example:5433/causeway"),
        ("postgresql:///causeway", "postgresql://reader@/causeway"),
    ],
)
def test_a_reader_is_told_the_address_without_the_owners_password(url: str, expected: str) -> None:
    assert address_for(url, "reader") == expected
