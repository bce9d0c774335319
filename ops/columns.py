"""How a table is laid out on a terminal: which columns stay side by side, how wide, and which go beneath their row.

Names and numbers are whole, so that they can be read and copied; text wraps between words. Where that leaves too
little room, the longest texts become lines of their own beneath the row.
"""

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GAP = 2
TEXT_LEAST = 24
"""A column that would be wider is text, and is not squeezed below this."""
INDENT = 4
ALWAYS = ("position", "time (UTC)")
"""By these people find a row again."""


class Layout(msgspec.Struct, frozen=True):
    widths: dict[int, int]
    """By column, of those that stay side by side."""
    beneath: tuple[int, ...]


def layout(columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int) -> Layout:
    cells = [[Text(name), *(row[number] for row in rows)] for number, name in enumerate(columns)]
    natural = [max(each.cell_len for each in column) for column in cells]
    least = [_least(column, most) for column, most in zip(cells, natural, strict=True)]
    beneath: list[int] = []
    may_go = [number for number in range(1, len(columns)) if columns[number] not in ALWAYS]
    going = sorted(may_go, key=lambda number: natural[number], reverse=True)
    while going and _sum(least, beneath) > width:
        beneath.append(going.pop(0))
    kept = [number for number in range(len(columns)) if number not in beneath]
    widths = {number: natural[number] for number in kept}
    while _sum(list(widths.values()), ()) > width:
        shrinking = [number for number in kept if widths[number] > least[number]] or [kept[0]]
        widest = max(shrinking, key=lambda number: widths[number])
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
    return Layout(widths, tuple(sorted(beneath)))


def _least(column: Sequence[Text], natural: int) -> int:
    words = max((Text(word).cell_len for cell in column for word in cell.plain.split()), default=0)
    return max(words, min(natural, TEXT_LEAST)) if natural > TEXT_LEAST else words


def _sum(widths: Sequence[int], without: Sequence[int]) -> int:
    kept = [each for number, each in enumerate(widths) if number not in without]
    return sum(kept) + GAP * (len(kept) - 1)


def print_table(out: Console, columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    plan = layout(columns, rows, out.width)
    head = [Text(name, style="bold") for name in columns]
    if not plan.beneath:
        out.print(_grid(plan, [head, *rows]))
        return
    out.print(_grid(plan, [head]))
    for row in rows:
        out.print(_grid(plan, [row]))
        for number in plan.beneath:
            if row[number].plain:
                line = Text.assemble((f"{columns[number]}  ", "dim"), row[number])
                out.print(Padding(line, (0, 0, 0, INDENT)))


def _grid(plan: Layout, rows: Sequence[Sequence[Text]]) -> Table:
    grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    for width in plan.widths.values():
        grid.add_column(width=width, overflow="fold")
    for row in rows:
        grid.add_row(*(row[number] for number in plan.widths))
    return grid
