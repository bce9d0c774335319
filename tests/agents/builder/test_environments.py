"""Environments: the same wishes are the same lock and the same sealed folder, made once; failures are readable."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.effects.environments import EnvironmentFailed, Environments, Wishes
from agents.effects.fence import Fence
from agents.effects.interpreters import PythonMissing
from tests.agents.builder.local_index import index_variables, source_distribution, wheel

UV = Path(sys.executable).parent / "uv"
Make = Callable[[str], Environments]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    wheel(folder, "tinylib", requires=("leaflib>=2",))
    wheel(folder, "leaflib", "2.0")
    wheel(folder, "leaflib", "3.0")
    return folder


@pytest.fixture
def make(tmp_path: Path, index: Path) -> Make:
    def make(root: str) -> Environments:
        return Environments(
            tmp_path / root, uv=UV, cache=tmp_path / "cache", own_python=Path(sys.executable),
            surroundings={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **index_variables(index)},
            fence=Fence(None),
        )  # fmt: skip

    return make


async def lock_of(environments: Environments, tmp_path: Path, *requirements: str, **more: tuple[str, ...]) -> Path:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    python = await environments.interpreter(None)
    lock = await environments.resolve(Wishes(requirements, **more), python, work, lambda line: None)
    path = tmp_path / "lock"
    path.write_bytes(lock.text)
    return path


async def test_wishes_are_locked_with_hashes_and_installed_as_locked(make: Make, tmp_path: Path) -> None:
    environments = make("environments")
    lock = await lock_of(environments, tmp_path, "tinylib", constraints=("leaflib<3",))
    assert "tinylib==1.0" in lock.read_text() and lock.read_text().count("--hash=sha256:") == 2
    minor = (await environments.interpreter(None)).minor
    environment = await environments.ensure(lock, minor)
    said = subprocess.run(
        [environment.python, "-c", "import tinylib, leaflib; print(leaflib.version)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == "2.0" and not environment.reused
    assert (await environments.ensure(lock, minor)) == type(environment)(environment.path, reused=True)


async def test_a_sealed_environment_shares_no_file_with_the_cache(make: Make, tmp_path: Path) -> None:
    environments = make("environments")
    lock = await lock_of(environments, tmp_path, "tinylib")
    path = (await environments.ensure(lock, (await environments.interpreter(None)).minor)).path
    files = [each for each in path.rglob("*") if not each.is_symlink()]
    assert files and not any(each.stat().st_mode & 0o222 for each in [path, *files])
    assert all(each.stat().st_nlink == 1 for each in files if each.is_file())
    assert list(path.rglob("tinylib/__pycache__/*.pyc"))
    assert not list((tmp_path / "environments" / ".aside").iterdir())


async def test_the_same_wishes_give_the_same_lock_though_the_index_moved_on(
    make: Make, tmp_path: Path, index: Path
) -> None:
    first = (await lock_of(make("environments"), tmp_path, "leaflib")).read_text()
    wheel(index, "leaflib", "4.0")
    assert (await lock_of(make("environments"), tmp_path, "leaflib")).read_text() == first
    assert "leaflib==4.0" in (await lock_of(make("elsewhere"), tmp_path, "leaflib")).read_text()


async def test_the_same_environment_asked_for_at_once_is_made_once(make: Make, tmp_path: Path) -> None:
    both = [make("environments"), make("environments")]
    lock = await lock_of(both[0], tmp_path, "tinylib")
    minor = (await both[0].interpreter(None)).minor
    made = await asyncio.gather(*(each.ensure(lock, minor) for each in both * 2))
    assert len({each.path for each in made}) == 1
    assert [each.reused for each in made].count(False) == 1


async def test_requirements_that_do_not_resolve_give_uvs_own_words(make: Make, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match=r"do not resolve: .*no-such-package-anywhere") as failed:
        await lock_of(make("environments"), tmp_path, "tinylib", "no-such-package-anywhere==1.0")
    assert "\n" not in str(failed.value)
    with pytest.raises(EnvironmentFailed, match=r"do not resolve: .*leaflib"):
        await lock_of(make("environments"), tmp_path, "tinylib", "leaflib<2")
    with pytest.raises(EnvironmentFailed, match="do not resolve"):
        await lock_of(make("environments"), tmp_path, "not a requirement !!")


async def test_a_package_that_changed_under_its_hash_is_not_installed(make: Make, tmp_path: Path, index: Path) -> None:
    lock = await lock_of(make("environments"), tmp_path, "leaflib==3.0")
    wheel(index, "leaflib", "3.0", code="import evil\n")
    shutil.rmtree(tmp_path / "cache")
    environments = make("environments")
    with pytest.raises(EnvironmentFailed, match=r"cannot be installed: .*[Hh]ash"):
        await environments.ensure(lock, (await environments.interpreter(None)).minor)
    assert not list((tmp_path / "environments" / ".aside").iterdir())


async def test_a_python_that_is_not_here_is_named_with_those_that_are(make: Make) -> None:
    environments = make("environments")
    ours = (await environments.interpreter(None)).minor
    with pytest.raises(PythonMissing, match=rf"python_version: Python 3\.99 .* here are .*{ours}.*python3\.99"):
        await environments.interpreter("3.99")
    assert (await environments.interpreter(ours)).minor == ours


async def test_what_a_killed_builder_left_is_cleared_and_made_anew(make: Make, tmp_path: Path) -> None:
    environments = make("environments")
    lock = await lock_of(environments, tmp_path, "leaflib")
    minor = (await environments.interpreter(None)).minor
    made = (await environments.ensure(lock, minor)).path
    left = tmp_path / "environments" / ".aside" / f"{made.name}-dead"
    (left / "environment").mkdir(parents=True)
    (made / "bin").chmod(0o755)
    (made / "bin" / "python").unlink()
    again = await environments.ensure(lock, minor)
    assert again.path == made and not again.reused and not left.exists()


async def test_the_code_of_a_package_that_is_built_sees_none_of_our_variables(
    make: Make, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAUSEWAY_SECRET_OF_THE_PLANE", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    seen = tmp_path / "seen"
    spy = f"import os\nopen({str(seen)!r}, 'w').write(' '.join(os.environ))\nraise SystemExit(1)\n"
    source_distribution(index, "spylib", spy)
    with pytest.raises(EnvironmentFailed):
        await lock_of(make("environments"), tmp_path, "spylib")
    names = seen.read_text().split()
    assert "PATH" in names and not [name for name in names if name.startswith(("CAUSEWAY", "AWS"))]


async def test_a_python_is_asked_once(tmp_path: Path) -> None:
    asked, python = tmp_path / "asked", tmp_path / "python3"
    python.write_text(f'#!/bin/sh\necho x >> {asked}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environments = Environments(
        tmp_path / "root", uv=UV, cache=tmp_path / "cache", own_python=python, surroundings={}, fence=Fence(None)
    )
    found = [await environments.interpreter(None) for _ in range(3)]
    assert found[0] == found[1] == found[2] and asked.read_text().count("x") == 1
