"""How long to wait before what has failed is tried again. Everybody who waits longer and longer waits like this."""

DOUBLINGS_MAX = 60
"""More would say nothing, and one day be too much for a number."""


def backoff_s(failures: int, first_s: float, most_s: float, chance: float = 1.0) -> float:
    """Twice as long after each failure in a row, up to the most.

    `chance`, from 0 to 1, takes it to between half and all of that, so that crowds disperse.
    """
    return min(most_s, first_s * 2.0 ** min(max(failures - 1, 0), DOUBLINGS_MAX)) * (0.5 + chance / 2)
