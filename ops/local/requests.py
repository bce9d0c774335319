"""What a running supervisor can be asked for, by a socket in its run folder that only its owner may open.

One line is the request; lines of progress come back, and the last one says `done` or why not. The socket is reached
through its folder's descriptor: the path of a state folder may be longer than a socket's name can be.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

SOCKET = "supervisor.sock"
DONE, FAILED = "done", "failed: "

Tell = Callable[[str], None]
Answer = Callable[[list[str], Tell], Awaitable[None]]


class RequestFailed(RuntimeError):
    """The supervisor could not do it, or cannot be asked."""


@asynccontextmanager
async def answering(run_folder: Path, answer: Answer) -> AsyncIterator[None]:
    """While the block runs, requests are answered by `answer(words, tell)`, which raises RequestFailed to refuse."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def tell(line: str) -> None:
            if not writer.is_closing():
                writer.write(f"{line}\n".encode())

        try:
            await answer((await reader.readline()).decode().split(), tell)
            tell(DONE)
        except RequestFailed as failure:
            tell(FAILED + " ".join(str(failure).splitlines()))
        finally:
            writer.close()

    (run_folder / SOCKET).unlink(missing_ok=True)
    with _short(run_folder) as path:
        server = await asyncio.start_unix_server(serve, path)
        os.chmod(path, 0o600)
    try:
        yield
    finally:
        server.close()
        (run_folder / SOCKET).unlink(missing_ok=True)


def ask(run_folder: Path, request: str, tell: Tell) -> None:
    """Waits until it is done. Raises RequestFailed."""
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            with _short(run_folder) as path:
                caller.connect(path)
        except OSError as error:
            reason = (
                f"the supervisor of {run_folder.parent} cannot be asked ({error.strerror}): is it of another version?"
            )
            raise RequestFailed(reason) from error
        caller.sendall(f"{request}\n".encode())
        for line in caller.makefile("r", encoding="utf-8"):
            said = line.rstrip("\n")
            if said == DONE:
                return
            if said.startswith(FAILED):
                raise RequestFailed(said.removeprefix(FAILED))
            tell(said)
    raise RequestFailed("the supervisor ended before it had answered")


@contextmanager
def _short(run_folder: Path) -> Iterator[str]:
    handle = os.open(run_folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
