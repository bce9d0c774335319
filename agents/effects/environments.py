"""Python environments, content-addressed: the same Python, platform and locked requirements are the same folder.

`resolve` turns wishes into a lock and remembers which lock the same wishes gave, so a repeated push is quick and gets
the same packages. `ensure` makes the folder of a lock on this machine: built aside, durable, sealed, renamed; whoever
asks second waits and reuses. Files are copied out of uv's cache, never hard-linked: a model that writes into its
packages must not reach those of all others through a shared inode.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex

import msgspec

from agents.effects.child import Finished, run_child
from agents.effects.fence import Fence
from agents.effects.folders import locked, make_durable, remove, seal
from agents.effects.interpreters import Interpreter, find_interpreter
from agents.effects.surroundings import for_uv, named_paths

OnLine = Callable[[str], None]
_INDEX_OPTIONS = ("-i ", "--index-url", "--extra-index-url", "-f ", "--find-links", "--default-index", "--index ")
_ASIDE = ".aside"
_LOCKS = ".locks"
_RESOLVED = ".resolved"


class Wishes(msgspec.Struct, frozen=True):
    """What a project asks for, in the words of requirements files."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


class Lock(msgspec.Struct, frozen=True):
    text: bytes
    reused: bool

    @property
    def packages(self) -> int:
        return sum(line[:1].isalnum() for line in self.text.decode().splitlines())


class Environment(msgspec.Struct, frozen=True):
    path: Path
    reused: bool

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"


class EnvironmentFailed(Exception):
    """Requirements that do not resolve or do not install. The text holds uv's own last words."""


class Environments:
    """`root` is the state folder's `environments`; `surroundings` the variables that uv may learn from."""

    def __init__(
        self,
        root: Path,
        *,
        uv: Path,
        cache: Path,
        own_python: Path,
        surroundings: Mapping[str, str],
        fence: Fence,
    ) -> None:
        self.root = root
        self._uv = uv
        self._cache = cache
        self._own_python = own_python
        self._surroundings = surroundings
        self._fence = fence
        self._pythons: dict[str | None, tuple[Interpreter, object]] = {}

    async def interpreter(self, python_version: str | None) -> Interpreter:
        """The machine's Python of that version, the plane's own for None. Raises PythonMissing.

        Asked once, and again when its file has changed: to start a Python takes longer than all else of a cold start.
        """
        known = self._pythons.get(python_version)
        if known is not None and known[1] == _file_of(known[0].path):
            return known[0]
        found = await find_interpreter(python_version, self._own_python, self._surroundings)
        self._pythons[python_version] = found, _file_of(found.path)
        return found

    async def resolve(
        self, wishes: Wishes, python: Interpreter, work: Path, on_line: OnLine, *, anew: bool = False
    ) -> Lock:
        """Raises EnvironmentFailed. `work` is a scratch folder of the caller's. `anew`: whatever is remembered of the
        same wishes, or of what the indexes have."""
        indexes = sorted(each for each in for_uv(self._surroundings, work).items() if each[0].startswith("UV_"))
        inputs = msgspec.json.encode((wishes, python.version, python.tag, indexes))
        known = self.root / _RESOLVED / f"{_digest(inputs)}.txt"
        if known.exists() and not anew:
            return Lock(known.read_bytes(), reused=True)
        lock = await self._compile(wishes, python, work, on_line, ("--refresh",) if anew else ())
        known.parent.mkdir(parents=True, exist_ok=True)
        aside = known.with_name(f".{known.name}.{token_hex(6)}")
        aside.write_bytes(lock)
        aside.replace(known)
        return Lock(lock, reused=False)

    async def _compile(
        self, wishes: Wishes, python: Interpreter, work: Path, on_line: OnLine, more: Sequence[str]
    ) -> bytes:
        files: dict[str, tuple[str, ...]] = msgspec.structs.asdict(wishes)
        for name, lines in files.items():
            (work / f"{name}.in").write_text("".join(f"{line}\n" for line in lines))
        output = work / "requirements.lock"
        output.unlink(missing_ok=True)  # uv would take its pins as preferences.
        options: list[str | Path] = []
        if any(line.startswith(_INDEX_OPTIONS) for line in wishes.requirements):
            options = ["--emit-index-url", "--emit-find-links"]  # Without them a node could not find the packages.
        child = await self._run_uv(
            "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate",
            "--index-strategy", "unsafe-best-match", "--python", python.path, *options, *more,
            "--constraint", work / "constraints.in", "--override", work / "overrides.in",
            work / "requirements.in", "--output-file", output,
            python=python, work=work, on_line=on_line,
        )  # fmt: skip
        if child.code != 0:
            raise EnvironmentFailed(f"requirements do not resolve: {last_words(child.lines)}")
        return output.read_bytes()

    async def ensure(self, lock: Path, python_version: str, on_line: OnLine = lambda line: None) -> Environment:
        """The environment of a lock file on this machine. Raises EnvironmentFailed, PythonMissing."""
        python = await self.interpreter(python_version)
        text = await asyncio.to_thread(lock.read_bytes)
        name = _digest(msgspec.json.encode((python.version, python.tag, hashlib.sha256(text).hexdigest())))
        final = self.root / name
        if _runs(final):
            return Environment(final, reused=True)
        async with locked(self.root / _LOCKS / name):
            if _runs(final):
                return Environment(final, reused=True)
            await asyncio.to_thread(self._clear, name)
            aside = self.root / _ASIDE / f"{name}-{token_hex(4)}"
            try:
                await self._install(text, python, aside, on_line)
                await asyncio.to_thread(_finish, aside / "environment", final)
            finally:
                await asyncio.to_thread(remove, aside)
        return Environment(final, reused=False)

    async def _install(self, lock: bytes, python: Interpreter, aside: Path, on_line: OnLine) -> None:
        work = aside / "work"
        work.mkdir(parents=True)
        requirements, target = work / "requirements.lock", aside / "environment"
        requirements.write_bytes(lock)
        # Relocatable: its scripts must not name the folder in which they were made.
        made = await self._run_uv(
            "venv", "--quiet", "--relocatable", "--no-project", "--python", python.path, target,
            python=python, work=aside, on_line=on_line,
        )  # fmt: skip
        if made.code != 0:
            raise EnvironmentFailed(f"the environment cannot be made: {last_words(made.lines)}")
        hashes = "--require-hashes" if _all_hashed(lock) else "--verify-hashes"
        synced = await self._run_uv(
            "pip", "sync", hashes, "--link-mode", "copy", "--compile-bytecode", "--allow-empty-requirements",
            "--index-strategy", "unsafe-best-match", "--python", target / "bin" / "python", requirements,
            python=python, work=aside, on_line=on_line,
        )  # fmt: skip
        if synced.code != 0:
            raise EnvironmentFailed(f"requirements cannot be installed: {last_words(synced.lines)}")

    async def _run_uv(self, *arguments: str | Path, python: Interpreter, work: Path, on_line: OnLine) -> Finished:
        env = for_uv(self._surroundings, work)
        self._cache.mkdir(parents=True, exist_ok=True)
        for folder in (env["HOME"], env["TMPDIR"]):
            Path(folder).mkdir(exist_ok=True)
        # A configuration that lies in a folder above would change what is built.
        config = () if "UV_CONFIG_FILE" in env else ("--no-config",)
        command: Sequence[str | Path] = [self._uv, *config, "--cache-dir", self._cache, *arguments]
        fenced = self._fence.wrap(
            command, cwd=work, readable=[python.base, self._uv, *named_paths(env)], writable=[self._cache, work]
        )
        return await run_child(fenced, env=env, cwd=work, on_line=on_line)

    def _clear(self, name: str) -> None:
        """What a killed builder of this environment left. We hold its lock, so nobody is at work in there."""
        for left in (self.root / _ASIDE).glob(f"{name}-*"):
            remove(left)
        if (self.root / name).exists():  # Its Python was removed from the machine.
            remove(self.root / name)


def _file_of(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _digest(inputs: bytes) -> str:
    return hashlib.sha256(inputs).hexdigest()[:32]


def _runs(environment: Path) -> bool:
    return os.access(environment / "bin" / "python", os.X_OK)


def _finish(made: Path, final: Path) -> None:
    seal(made)
    made.chmod(0o755)  # A folder that is moved must be writable itself, for its `..`.
    made.rename(final)
    final.chmod(0o555)
    make_durable(final.parent)


def _all_hashed(lock: bytes) -> bool:
    requirements = lock.decode().replace("\\\n", " ").splitlines()
    return all("--hash=" in line for line in requirements if line[:1].isalnum())


def last_words(lines: Sequence[str], at_most: int = 900) -> str:
    """The end of uv's output as one line, without its drawing."""
    words = " ".join(" ".join(line.strip(" \t×╰─▶│├") for line in lines[-30:]).split())
    return words if len(words) <= at_most else f"… {words[-at_most:]}"
