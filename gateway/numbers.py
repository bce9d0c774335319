"""Whole numbers in what a client sends: digits, and no more of them than 64 bits take. Pure.

Python refuses to read a number of thousands of digits by an error of its own, which would be told as a fault of ours.
"""

_DIGITS = len(str(2**63 - 1))


def whole(text: str) -> int | None:
    """None: it is no such number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
