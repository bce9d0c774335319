"""Why a model server ended, from what it printed: the exception, where in the model it came from, and the fix."""

import re
from collections.abc import Sequence

from events.signals.log_lines import LogLine

_REASON_MAX = 500
_FAREWELLS = re.compile(
    r"Shutting down|Waiting for application shutdown|Application shutdown complete|Finished server process"
    r"|Trying shut down after failed model load|Started server process|Waiting for application startup"
    r"|Application startup complete|Uvicorn running on|Handled request|Executing model\.load"
)
_OWN_FRAME = re.compile(r"File [\"'](?:[^\"']*/)?((?:model|packages)/[^\"']+)[\"'], line (\d+)")
_LIBRARIES = ("site-packages", "lib/python")
_MISSING_MODULE = "ModuleNotFoundError: "
_MISSING_MODULE_FIX = "add the package that brings it to requirements in config.yaml"


def last_words(lines: Sequence[LogLine]) -> str:
    """The last exception, else the last line that means something; empty when there is none."""
    texts = [line.message for line in lines]
    if (exception := _exception("\n".join(texts))) is not None:
        return exception
    for line in reversed(lines):
        if line.level in ("error", "critical"):
            return line.message.splitlines()[0][:_REASON_MAX]
    meant = [text for text in texts if not _FAREWELLS.search(text)]
    return meant[-1].splitlines()[-1][:_REASON_MAX] if meant else ""


def _exception(text: str) -> str | None:
    """Of the last traceback: the line that names the exception, and the last place in the model's own code."""
    _, header, after = text.rpartition("Traceback (most recent call last):")
    if not header:
        return None
    lines = after.splitlines()
    # The frames are indented; the first line that is not names the exception.
    named = next((number for number, line in enumerate(lines) if line and not line[0].isspace()), None)
    if named is None:
        return None
    places = [each for line in lines[:named] if (each := _own_place(line))]
    fix = f"; {_MISSING_MODULE_FIX}" if lines[named].startswith(_MISSING_MODULE) else ""
    return lines[named][:_REASON_MAX] + (f" ({places[-1]})" if places else "") + fix


def _own_place(frame: str) -> str | None:
    found = None if any(each in frame for each in _LIBRARIES) else _OWN_FRAME.search(frame)
    return None if found is None else f"{found[1]}, line {found[2]}"
