"""Tables of measured numbers: kept exact in JSON, shown rounded in Markdown."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

Cell = str | int | float | None | list  # a pair [mean, half-width] shows as mean ± half-width
Table = dict[str, Any]


def mean_interval(values: Tensor) -> list[float]:
    """Mean of values (N,), one per signal, and the half-width of its 95 % confidence interval (normal, over signals).

    NaNs (a measure that a signal does not have) are left out; one value alone has a half-width of NaN.
    """
    values = values.double().flatten()
    values = values[~values.isnan()]
    if len(values) == 0:
        return [math.nan, math.nan]
    half = 1.96 * values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return [values.mean().item(), half]


def make_table(
    columns: dict[str, int], rows: Sequence[Sequence[Cell]], title: str = "", plot: dict[str, Any] | None = None
) -> Table:
    """A table that JSON can hold.

    Args:
        columns (`dict[str, int]`): Titles, each with the digits behind the point that Markdown shows.
        plot (`dict` or `None`): How `evaluation.curves` draws it against its first column: `title`, `ylabel`, `lines`
            (titles of columns) and, optionally, `levels` (dashed lines at nominal values).

    Raises:
        ValueError: for a row of another length than the columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"rows: expected {len(columns)} cells, as there are columns, got {len(row)}")
    finite = [[_finite(cell) for cell in row] for row in rows]  # JSON knows no NaN
    return {"title": title, "columns": [list(item) for item in columns.items()], "rows": finite, "plot": plot}


def markdown(table: Table) -> str:
    """The table in Markdown, under its title if it has one: numbers to the right, names in the first column left."""
    titles = [title for title, _ in table["columns"]]
    named = any(isinstance(row[0], str) for row in table["rows"])
    lines = [f"*{table['title']}*", ""] if table["title"] else []
    lines += ["| " + " | ".join(titles) + " |", "|" + ("---|" if named else "---:|") + "---:|" * (len(titles) - 1)]
    for row in table["rows"]:
        cells = [_show(cell, digits) for cell, (_, digits) in zip(row, table["columns"], strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def column(table: Table, title: str) -> list[Cell]:
    """The cells of a column."""
    index = [name for name, _ in table["columns"]].index(title)
    return [row[index] for row in table["rows"]]


def _finite(cell: Cell) -> Cell:
    if isinstance(cell, list | tuple):
        return [_finite(part) for part in cell]
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _show(cell: Cell, digits: int) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, list):
        mean, half = cell
        return _show(mean, digits) if half is None else f"{mean:,.{digits}f} ± {half:.{digits}f}"
    return f"{cell:,.{digits}f}"
