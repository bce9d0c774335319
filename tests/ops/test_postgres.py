"""The local PostgreSQL in awkward places: long paths, blanks, folders its user cannot pass."""

import os
from pathlib import Path

import asyncpg

from ops.local.attach import attached
from ops.local.postgres import SOCKET_PATH_BYTES, PostgresPlace, prepare
from ops.local.processes import identify
from tests.ops.stacks import ELSEWHERE, running, settings_for


async def test_it_runs_below_a_closed_folder_with_a_long_name_and_blanks(tmp_path: Path) -> None:
    closed = tmp_path / ("a rather long name " * 5).strip()
    closed.mkdir(mode=0o700)
    settings = settings_for(closed / "state", CAUSEWAY_NATS_URL=ELSEWHERE["CAUSEWAY_NATS_URL"])
    with running(settings, []):
        url = attached(settings).postgres_url
        assert url is not None
        connection = await asyncpg.connect(url)
        try:
            assert await connection.fetchval("show data_directory_mode") == "0700"
            assert await connection.fetchval("show listen_addresses") == ""
            assert await connection.fetchval("show fsync") == "on"
        finally:
            await connection.close()
        assert (settings.state / "postgres" / "data" / "PG_VERSION").exists()
    remove_socket_folder(url)


def remove_socket_folder(url: str) -> None:
    folder = Path(url.rpartition("host=")[2])
    assert len(os.fsencode(folder / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES
    assert folder.stat().st_mode & 0o077 == 0
    folder.rmdir()


def test_a_lock_file_of_another_program_does_not_stop_it(tmp_path: Path) -> None:
    """After a reboot the pid in the lock file may be anybody's."""
    settings = settings_for(tmp_path)
    data = Path(prepare(settings).place.folder)
    lock = data / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n/somewhere\n")
    prepare(settings)
    assert identify(os.getpid()) is not None
    assert not lock.exists()


def test_the_address_of_a_folder_with_odd_characters_is_still_an_address() -> None:
    place = PostgresPlace(folder="/a b/c&d", socket_folder="/a b/c&d", programs="/bin")
    assert place.url == "postgresql://postgres@/postgres?host=/a%20b/c%26d"
