"""One build, from the uploaded archive to a bundle and an environment: six steps, each timed and told.

Everything happens in a scratch folder and in content-addressed stores, so a build that is killed anywhere is begun
again from its archive, and finds what it had already finished.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from agents.build_weights import Pinning, WeightsIn, WeightsOut, bring_weights
from agents.builds import OpenBuild
from agents.effects.commands import CommandFailed, Place, require_packages, run_commands
from agents.effects.context import BadProject, Bundle, Toolchain, lay_out
from agents.effects.environments import Environment, EnvironmentFailed, Environments, Wishes
from agents.effects.external_data import FetchFailed, fetch
from agents.effects.fence import Fence
from agents.effects.folders import locked, remove
from agents.effects.interpreters import Interpreter, PythonMissing
from agents.effects.package import CannotPack, pack
from agents.effects.unpack import UNPACK_LIMITS, BadArchive, UnpackLimits, unpack
from agents.effects.weights_mirroring import MirrorFailed, Mirroring
from events.base import BlobDigest
from events.weights import Mount
from projections.stores.blobs import BlobMissing, FolderBlobs

SecretOf = Callable[[str], Awaitable[bytes | None]]
OnLine = Callable[[str], None]


class Workshop(msgspec.Struct, frozen=True, kw_only=True):
    """What builds are made with on this machine."""

    blobs: FolderBlobs
    environments: Environments
    toolchain: Toolchain
    fence: Fence
    surroundings: Mapping[str, str]
    """Variables of the plane; what a child sees of them is chosen in effects/surroundings.py."""
    scratch: Path
    """A folder of the builder's own; whatever is in it when a builder starts is swept."""
    secret_of: SecretOf
    mirroring: Mirroring
    limits: UnpackLimits = UNPACK_LIMITS

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Holds the scratch folder, cleared of what a killed builder left there."""
        async with locked(self.scratch.with_name(f"{self.scratch.name}.lock")):
            await asyncio.to_thread(self._sweep)
            yield

    def _sweep(self) -> None:
        remove(self.scratch)
        self.scratch.mkdir(parents=True)
        self.blobs.sweep()

    async def build(self, build: OpenBuild, on_line: OnLine, tell: "Tell") -> "Built":
        """Raises BuildBroken."""
        return await BuildRun(build, self, on_line, tell).run()


class Step(msgspec.Struct):
    """Filled in while the step runs."""

    name: str
    reused: bool = False
    detail: str = ""


class StepEnded(msgspec.Struct, frozen=True):
    name: str
    seconds: float
    reused: bool
    detail: str


News = StepEnded | Pinning | WeightsIn | WeightsOut
Tell = Callable[[News], Coroutine[Any, Any, None]]


class BuildBroken(Exception):
    """The build failed for a reason that its owner can read."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


class Built(msgspec.Struct, frozen=True):
    bundle: BlobDigest
    environment: BlobDigest
    python_version: str
    truss_hash: str
    truss_signature: BlobDigest
    weights: tuple[Mount, ...] = ()


class _PushedBuild(msgspec.Struct, frozen=True):
    no_cache: bool = False


class _Pushed(msgspec.Struct, frozen=True):
    """What a build needs of a pushed config; the rest is in the project's own file."""

    build: _PushedBuild = _PushedBuild()


FAILURES = (
    BadArchive,
    BadProject,
    BlobMissing,
    CannotPack,
    CommandFailed,
    EnvironmentFailed,
    FetchFailed,
    PythonMissing,
    OSError,  # A full disk, say: nothing that beginning again at once would mend.
)


class BuildRun:
    """One build under way."""

    def __init__(
        self,
        build: OpenBuild,
        workshop: Workshop,
        on_line: OnLine,
        tell: Tell,
    ) -> None:
        self._build = build
        self._shop = workshop
        self._on_line = on_line
        self._tell = tell
        self._step = "unpack"
        self._root = workshop.scratch / build.build_id

    async def run(self) -> Built:
        """Raises BuildBroken. Cancelling ends all that it started and removes its scratch folder."""
        try:
            async with asyncio.timeout(self._build.deadline_s):
                return await self._run()
        except TimeoutError:
            raise BuildBroken(
                self._step, f"not done within the deploy timeout of {self._build.deadline_s} s: allow it more"
            ) from None
        except FAILURES as error:
            raise BuildBroken(self._step, " ".join(str(error).split())) from error
        finally:
            await asyncio.to_thread(remove, self._root)

    async def _run(self) -> Built:
        self._work.mkdir(parents=True)
        for name in ("home", "tmp"):
            (self._work / name).mkdir()
        await self._unpack()
        bundle = await self._context()
        try:
            async with asyncio.TaskGroup() as tasks:  # The one waits for a source, the other for an index.
                weights = tasks.create_task(self._weights(bundle))
                made = tasks.create_task(self._make(bundle))
        except BaseExceptionGroup as group:  # The first says why; the other was stopped for it.
            raise group.exceptions[0] from None
        return msgspec.structs.replace(made.result(), weights=weights.result())

    async def _weights(self, bundle: Bundle) -> tuple[Mount, ...]:
        if not bundle.weights:
            return ()
        try:
            async with self._timed("weights") as step:
                brought = await bring_weights(
                    bundle.weights,
                    self._build.pins,
                    mirroring=self._shop.mirroring,
                    secret_of=self._shop.secret_of,
                    work=self._work,
                    tell=self._tell,
                    on_line=self._on_line,
                )
                step.reused, step.detail = brought.bytes_read == 0, brought.detail
        except MirrorFailed as failed:
            raise BuildBroken("weights", failed.reason) from failed
        return brought.mounts

    async def _make(self, bundle: Bundle) -> Built:
        wishes = Wishes(bundle.requirements, bundle.constraints, bundle.overrides)
        async with self._timed("resolve") as step:
            python = await self._shop.environments.interpreter(bundle.python_version)
            lock = await self._shop.environments.resolve(
                wishes, python, self._work, self._on_line, anew=await self._is_anew()
            )
            locked = await self._shop.blobs.put(lock.text)
            step.reused, step.detail = lock.reused, f"{lock.packages} packages for Python {python.version}"
        async with self._timed("environment") as step:
            environment = await self._shop.environments.ensure(
                self._shop.blobs.path(locked), python.minor, self._on_line
            )
            step.reused, step.detail = environment.reused, environment.path.name
        await self._commands(bundle, environment, python)
        packed = await self._package()
        signature = await self._shop.blobs.put(bundle.truss_signature.encode())
        return Built(packed, locked, python.minor, bundle.truss_hash, signature)

    async def _is_anew(self) -> bool:
        """Whether it was pushed with --no-cache, which only the pushed config says."""
        pushed = await self._shop.blobs.read(self._build.config)
        try:
            return msgspec.json.decode(pushed, type=_Pushed).build.no_cache
        except msgspec.ValidationError as error:
            raise BadProject(f"the pushed config cannot be read: {error}") from error

    async def _unpack(self) -> None:
        async with self._timed("unpack") as step:
            self._shop.blobs.size(self._build.source)  # Raises where the archive is gone.
            archive = self._shop.blobs.path(self._build.source)
            unpacked = await asyncio.to_thread(unpack, archive, self._project, self._shop.limits)
            step.detail = f"{unpacked.files} files, {unpacked.bytes} bytes"

    async def _context(self) -> Bundle:
        async with self._timed("context") as step:
            bundle = await lay_out(
                self._project,
                self._out,
                toolchain=self._shop.toolchain,
                fence=self._shop.fence,
                surroundings=self._shop.surroundings,
                work=self._work,
                on_line=self._on_line,
            )
            for wanted in bundle.external_data:
                await fetch(wanted, self._out / "app" / "data", self._on_line)
            step.detail = f"truss hash {bundle.truss_hash[:12]}"
        return bundle

    async def _commands(self, bundle: Bundle, environment: Environment, python: Interpreter) -> None:
        if not (bundle.build_commands or bundle.system_packages):
            return
        async with self._timed("commands") as step:
            await require_packages(bundle.system_packages, self._shop.surroundings, self._on_line)
            await run_commands(
                bundle.build_commands,
                place=Place(self._out, environment.path, python, self._shop.toolchain.uv, self._work),
                fence=self._shop.fence,
                surroundings=self._shop.surroundings,
                secrets=await self._secrets(bundle),
                on_line=self._on_line,
            )
            step.detail = f"{len(bundle.build_commands)} commands, {len(bundle.system_packages)} system packages"

    async def _secrets(self, bundle: Bundle) -> dict[str, tuple[Path, bytes]]:
        found = {}
        for name, place in bundle.build_secrets.items():
            value = await self._shop.secret_of(name)
            if value is None:
                raise CommandFailed(f"build.secret_to_path_mapping: secret {name} is not set: set it, then push again")
            found[name] = (Path(place), value)
        return found

    async def _package(self) -> BlobDigest:
        async with self._timed("package") as step:
            packed = self._work / "bundle.tar"
            count = await asyncio.to_thread(pack, self._out, packed)
            digest = await self._shop.blobs.put(packed)
            step.detail = f"{count} members, {packed.stat().st_size} bytes"
            return digest

    @property
    def _project(self) -> Path:
        return self._root / "project"

    @property
    def _out(self) -> Path:
        return self._root / "bundle"

    @property
    def _work(self) -> Path:
        return self._root / "work"

    @asynccontextmanager
    async def _timed(self, name: str) -> AsyncIterator[Step]:
        clock = asyncio.get_running_loop().time
        step, began = Step(name), clock()
        self._step = name
        yield step
        await self._tell(StepEnded(name, round(clock() - began, 3), step.reused, step.detail))
