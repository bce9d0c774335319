"""What a command says when it cannot do what it was asked, and the exit codes.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the stack is not running.
"""

FAILED, USAGE, NOT_RUNNING = 1, 2, 3


class Failure(Exception):
    """A command cannot do what it was asked; with how to put it right."""

    def __init__(self, message: str, fix: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.fix = fix
        self.exit_code = exit_code
