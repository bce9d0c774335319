"""Names by pattern: exact, or with `*` for any text and `?` for one character. Pure."""

import re
from collections.abc import Callable, Sequence


def is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def matching(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name is one of these; without any, every one is."""
    if not patterns:
        return lambda name: True
    either = "|".join(re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in patterns)
    expression = re.compile(f"(?:{either})", re.DOTALL)
    return lambda name: expression.fullmatch(name) is not None
