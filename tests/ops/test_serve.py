"""A role's process: refuses what is no role, and loads no more than it needs."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ops.config import CHECKOUT
from ops.wiring.when_asked import App, WhenAsked

SPARED = "fastapi graphql pydantic typer rich aiohttp asyncpg ops.cli gateway.control.app"
LOADED = f"""
import sys
from ops.serve import LEFT_OUT, LOAD_THEM_IF_THERE, left_out
with left_out(LEFT_OUT):
    for name in LOAD_THEM_IF_THERE:
        __import__(name)
import ops.wiring.gateway
print(*(each for each in {SPARED.split()} if each in sys.modules))
import aiohttp, rich
"""


def said_by(*arguments: str, **variables: str) -> tuple[int, str]:
    command = (sys.executable, *arguments)
    ended = subprocess.run(command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def test_what_is_no_role_is_refused_before_anything_starts() -> None:
    code, said = said_by("-m", "ops.serve", "nonsense")
    assert code == 2 and "there is no role 'nonsense'" in said and "gateway, control, builder, node" in said
    assert said_by("-m", "ops.serve")[0] == 2


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    code, said = said_by("-m", "ops.serve", "gateway", CAUSEWAY_STATE=str(tmp_path), CAUSEWAY_PROT="1")
    assert code == 2 and "did you mean CAUSEWAY_PORT?" in said and "Traceback" not in said


def test_a_gateway_worker_loads_neither_the_command_line_nor_the_control_api() -> None:
    code, said = said_by("-c", LOADED, PYTHONPATH=str(CHECKOUT))
    assert (code, said.split()) == (0, []), "and what was left out can be had later"


async def test_an_application_is_loaded_once_by_whoever_asks_first_and_the_loop_goes_on() -> None:
    begun, go_on, loads, answered = threading.Event(), threading.Event(), list[str](), list[Any]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answered.append(scope)

    def load() -> App:
        loads.append(threading.current_thread().name)
        begun.set()
        assert go_on.wait(60)
        return app

    lazy = WhenAsked(load)
    asking = [asyncio.create_task(lazy(number, None, None)) for number in range(3)]
    assert await asyncio.to_thread(begun.wait, 60) and not answered
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    go_on.set()
    await asyncio.gather(*asking[1:])
    await lazy(3, None, None)
    assert answered == [1, 2, 3] and len(loads) == 1 and loads != [threading.main_thread().name]
