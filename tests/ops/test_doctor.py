"""The doctor: one row a finding, and every finding that is not well says what to do."""

from pathlib import Path

import pytest

from ops.config import Settings
from ops.doctor import Row, examine, is_fit, version_in
from tests.ops.stacks import settings_for


def finding(settings: Settings, name: str) -> Row:
    return next(row for row in examine(settings) if row.name == name)


def test_a_machine_that_runs_these_tests_is_fit(tmp_path: Path) -> None:
    rows = examine(settings_for(tmp_path))
    assert is_fit(rows), rows
    assert all(row.fix for row in rows if not row.ok)
    assert not any(row.fix for row in rows if row.ok)


def test_a_missing_program_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    row = finding(settings_for(tmp_path, CAUSEWAY_NATS_SERVER="/nowhere/nats-server"), "nats-server")
    assert not row.ok and "CAUSEWAY_NATS_SERVER=/nowhere/nats-server" in row.fix


@pytest.mark.parametrize(("version", "fits"), [("v2.9.10", False), ("v2.12.0", True), ("v3.0.1", True)])
def test_an_old_nats_server_is_refused(tmp_path: Path, version: str, fits: bool) -> None:
    program = tmp_path / "nats-server"
    program.write_text(f"#!/bin/sh\necho 'nats-server: {version}'\n")
    program.chmod(0o755)
    row = finding(settings_for(tmp_path, CAUSEWAY_NATS_SERVER=str(program)), "nats-server")
    assert row.ok == fits
    assert fits or "2.12 or newer" in row.fix


def test_without_bubblewrap_models_still_run_unless_it_was_asked_for(tmp_path: Path) -> None:
    missing = {"CAUSEWAY_BUBBLEWRAP": str(tmp_path / "bwrap")}
    warned = finding(settings_for(tmp_path, **missing), "sandbox")
    assert not warned.ok and not warned.needed and "plain processes" in warned.detail
    refused = finding(settings_for(tmp_path, CAUSEWAY_SANDBOX="bubblewrap", **missing), "sandbox")
    assert not refused.ok and refused.needed


def test_a_version_is_read_out_of_what_a_program_says() -> None:
    assert version_in("nats-server: v2.15.1") == (2, 15, 1)
    assert version_in("postgres (PostgreSQL) 18.4") == (18, 4)
    assert version_in("") == ()
