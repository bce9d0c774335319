"""What a checker is."""

from events.codec import Recorded


class Violation(AssertionError):
    """An invariant does not hold."""


class Checker:
    """Sees every event in order; `commit` is called after the last event of each decision."""

    def see(self, recorded: Recorded) -> None:
        raise NotImplementedError(type(self).__name__)

    def commit(self) -> None:
        return None
