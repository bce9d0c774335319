"""Regular expressions over log lines, in a child process with a deadline.

A pattern can take for ever on a line that was made for it. In our own process it would hold up every request.
"""

import asyncio
import sys
from collections.abc import Sequence

import msgspec

from events.signals.log_lines import LogLine
from gateway.control.errors import invalid

DEADLINE_S = 5.0
PATTERN_MAX = 256
_CHILD = """
import json, re, sys
pattern, messages = json.load(sys.stdin)
try:
    search = re.compile(pattern).search
except re.error as error:
    sys.exit(str(error))
json.dump([index for index, message in enumerate(messages) if search(message)], sys.stdout)
"""


async def matching(pattern: str, lines: Sequence[LogLine]) -> list[LogLine]:
    """Those lines that the pattern is found in. Raises ApiError for a pattern that is wrong or too slow."""
    if len(pattern) > PATTERN_MAX:
        raise invalid(f"search_pattern may have {PATTERN_MAX} characters", "search_pattern")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", _CHILD, stdin=pipe, stdout=pipe, stderr=pipe, env={}
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await child.communicate(msgspec.json.encode((pattern, [line.message for line in lines])))
    except TimeoutError:
        fix = "write a simpler one, a shorter window, or use includes"
        raise invalid(f"search_pattern takes longer than {DEADLINE_S:g} s: {fix}", "search_pattern", fix) from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise invalid(f"search_pattern: {err.decode(errors='replace').strip()}", "search_pattern")
    return [lines[index] for index in msgspec.json.decode(out, type=list[int])]
