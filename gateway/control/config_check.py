"""Is this config one that truss and this version of the plane accept? Asked of truss's own code, in a child of its own.

The child is `ops/truss_tools/context.py --check-config -` in truss's environment, with a deadline and nothing of our
environment. The same config is not asked about twice.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from gateway.control.errors import ApiError

_KEPT = 256
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}


class Fault(msgspec.Struct, frozen=True):
    field: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}; {self.fix}"


class Findings(msgspec.Struct, frozen=True):
    errors: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()


class ConfigCheck:
    def __init__(self, command: Sequence[str], deadline_s: float = 30.0) -> None:
        """`command` reads a config from its standard input and prints findings as one JSON object."""
        self._command = tuple(command)
        self._deadline_s = deadline_s
        self._known: OrderedDict[bytes, Findings] = OrderedDict()
        self._room = asyncio.Semaphore(2)

    async def __call__(self, config: bytes) -> Findings:
        digest = sha256(config).digest()
        if digest not in self._known:
            async with self._room:
                if digest not in self._known:  # Whoever was before us may have asked the same.
                    self._known[digest] = await self._ask(config)
                    if len(self._known) > _KEPT:
                        self._known.popitem(last=False)
        return self._known[digest]

    async def _ask(self, config: bytes) -> Findings:
        pipe = asyncio.subprocess.PIPE
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=pipe, env=_ENVIRONMENT
            )
        except OSError as error:
            message = f"configs cannot be checked ({error}): `make setup` builds the truss environment"
            raise ApiError(503, message, code="not_set_up") from error
        try:
            async with asyncio.timeout(self._deadline_s):
                out, err = await child.communicate(config)
        except TimeoutError:
            raise ApiError(503, f"the config could not be checked within {self._deadline_s:g} s: push again") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        try:
            return msgspec.json.decode(out, type=Findings)
        except msgspec.MsgspecError as error:
            said = err.decode(errors="replace").strip()[-500:]
            raise ApiError(500, f"the config check broke (exit {child.returncode}): {said}") from error
