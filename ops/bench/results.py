"""`RESULTS.md`: one section a benchmark, replaced as a whole by each run of it."""

import re
from collections.abc import Sequence
from pathlib import Path

FILE = Path(__file__).with_name("RESULTS.md")
PREFACE = """# Measurements

Each section is written by the command it names. Machines differ: what counts are the ratios to the limits measured in
the same run; absolute numbers are for that machine only.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def with_section(document: str, title: str, body: str) -> str:
    """The document with that section in place of its earlier version, or at the end."""
    section = f"## {title}\n\n{body.strip()}\n"
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{document.rstrip()}\n\n{section}"
    return document[: found.start()] + section + ("\n" if document[found.end() :] else "") + document[found.end() :]


def write_section(title: str, body: str, file: Path = FILE) -> None:
    file.write_text(with_section(file.read_text() if file.exists() else PREFACE, title, body))
