"""The commands about the stack, and what every command says when there is none."""

from pathlib import Path

import pytest

from events.log.memory import MemoryLog
from ops.cli.expected import EXPECTED, explained
from ops.local.attach import status
from ops.operator_key import ensured, kept_key
from ops.replay import state_at
from projections.access import ACCESS
from tests.ops.cli_runs import Shell
from tests.ops.stacks import ELSEWHERE, SLEEPS, running, settings_for


@pytest.mark.parametrize(
    "line", ["events", "models", "status", "audit", "key list", "why iris", "truss push .", "key revoke a", "reload"]
)
def test_without_a_stack_every_command_says_so_and_exits_with_3(tmp_path: Path, line: str) -> None:
    answer = Shell(tmp_path, None).run(line)
    assert (answer.code, answer.out) == (3, "")
    assert "nothing runs on" in answer.err and "causeway up" in answer.err


def test_status_of_no_stack_is_still_json_for_programs(tmp_path: Path) -> None:
    answer = Shell(tmp_path, None).run("status -o json")
    assert (answer.code, answer.json) == (3, {"running": False, "state": str(tmp_path)})


def test_down_of_no_stack_is_no_error(tmp_path: Path) -> None:
    answer = Shell(tmp_path, None).run("down")
    assert answer.code == 0 and "nothing was running" in answer.out


def test_status_names_every_role_with_its_process(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, [("gateway", [], SLEEPS)]) as stack:
        shell = Shell(tmp_path, ())
        shown = shell.run("status -o json").json
        assert (shown["running"], shown["ready"], shown["url"]) == (True, True, stack.url)
        assert (shown["log_position"], shown["audit_position"]) == (0, 0)
        (role,) = shown["roles"]
        assert (role["role"], role["phase"], role["pid"]) == ("gateway", "ready", stack.pids["gateway"])
        assert list(role) == ["role", "phase", "pid", "since", "restarts", "last_exit", "draining"]
        table = shell.run("status").out
        assert stack.url in table and "gateway" in table and "log at position 0" in table
        again = shell.run("up --detach")
        assert again.code == 0 and f"already runs at {stack.url}" in again.out
        assert shell.run("down").out == "Causeway is down\n"
        assert status(settings) is None


def test_reload_says_which_process_serves_now(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **ELSEWHERE)
    with running(settings, [("gateway", [], SLEEPS), ("control", [], SLEEPS)]) as stack:
        shell = Shell(tmp_path, ())
        answer = shell.run("reload")
        assert answer.code == 0
        now = status(settings)
        assert now is not None
        assert f"gateway: process {now.pids['gateway']} serves; process {stack.pids['gateway']} finishes" in answer.out
        refused = shell.run("reload control")
        assert refused.code == 1 and "only gateway can" in refused.err


def test_a_variable_that_nobody_knows_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(tmp_path, None)
    shell.settings = None  # type: ignore[assignment]
    monkeypatch.setenv("CAUSEWAY_PROT", "1")
    answer = shell.run("status")
    assert answer.code == 2 and "did you mean CAUSEWAY_PORT?" in answer.err


def test_every_setting_is_listed(tmp_path: Path) -> None:
    rows = Shell(tmp_path, None).run("doctor --settings -o json").json
    assert {"CAUSEWAY_STATE", "CAUSEWAY_PORT"} <= {row["variable"] for row in rows}


async def test_the_operators_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    log = MemoryLog()
    key, is_new = await ensured(log, tmp_path)
    assert is_new and kept_key(tmp_path) == key
    assert (tmp_path / "operator.key").stat().st_mode & 0o777 == 0o600
    assert await ensured(log, tmp_path) == (key, False)
    (issued,) = (await state_at(log, ACCESS)).keys.values()
    assert key.startswith(f"{issued.key_id}.") and key not in repr(await log.read())
    other, made_anew = await ensured(MemoryLog(), tmp_path)
    assert made_anew and other != key, "a key that this log does not know is of no use"


def test_every_expected_error_has_an_exit_code_and_text() -> None:
    for kind in EXPECTED:
        error = kind.__new__(kind)
        Exception.__init__(error, "what went wrong")
        error.fix, error.exit_code = "", 1  # type: ignore[attr-defined]
        message, _, code = explained(error)
        assert message and code in (1, 2, 3), kind
