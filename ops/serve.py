"""`python -m ops.serve ROLE`: one role of the plane in this process; the supervisor of `causeway up` starts these.

Nothing of the command line is loaded, and of the libraries what the role needs: there may be many gateway workers on a
machine. Exit codes are those of `causeway`.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from ops.config import BadSetting, load

LEFT_OUT = ("aiohttp", "rich", "better_exceptions")
"""nats-py loads aiohttp for NATS over WebSockets, structlog the others for colours: 15 MB that nobody here uses."""
LOAD_THEM_IF_THERE = ("events.log.jetstream", "structlog")
FAILED, USAGE, NOT_RUNNING = 1, 2, 3


@contextmanager
def left_out(names: Sequence[str]) -> Iterator[None]:
    """What is loaded within does not find them; who needs one later imports it as ever."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "is not there", says the import system
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def main(arguments: Sequence[str]) -> int:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with left_out(LEFT_OUT):
        for name in LOAD_THEM_IF_THERE:
            import_module(name)
    from events.log import LogBroken, LogUnavailable
    from events.signals.load_history import LoadsUnavailable
    from ops.wiring import ROLES, run_role

    if len(arguments) != 1 or arguments[0] not in ROLES:
        asked = f"there is no role {' '.join(arguments)!r}: " if arguments else ""
        print(f"causeway: {asked}say python -m ops.serve with one of {', '.join(ROLES)}", file=sys.stderr)
        return USAGE
    try:
        run_role(arguments[0], load())
    except BadSetting as error:
        return _ended(str(error), USAGE)
    except (LogUnavailable, LoadsUnavailable) as error:
        return _ended(f"NATS cannot be reached: {error}", NOT_RUNNING)
    except LogBroken as error:
        return _ended(f"the log is broken: {error}", FAILED)
    return 0


def _ended(why: str, code: int) -> int:
    print(f"causeway: {why}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
