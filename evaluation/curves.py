"""One picture of a report's curves: a panel for each table that says how it is drawn."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from evaluation.tables import Table, column
from signals.plots import save_small

COLUMNS = 3


def draw(tables: list[Table], path: Path) -> bool:
    """Draw the tables that have a `plot` against their first column, with 95 % bands; whether there were any."""
    drawn = [table for table in tables if table["plot"] and len(table["rows"]) > 1]
    if not drawn:
        return False
    lines = -(-len(drawn) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 3.2 * lines), layout="constrained")
    axes = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
    for axis, table in zip(axes, drawn, strict=False):
        _panel(axis, table)
    for axis in axes[len(drawn) :]:
        axis.set_axis_off()
    save_small(figure, path)
    return True


def _panel(axis, table: Table) -> None:
    plot, x = table["plot"], np.array(column(table, table["columns"][0][0]), float)
    for number, title in enumerate(plot["lines"]):
        pairs = [cell if isinstance(cell, list) else [cell, None] for cell in column(table, title)]
        mean, half = (
            np.array([part if part is not None else np.nan for part in side]) for side in zip(*pairs, strict=True)
        )
        axis.plot(x, mean, "o-", color=f"C{number}", markersize=3, linewidth=1.3, label=title)
        axis.fill_between(x, mean - half, mean + half, color=f"C{number}", alpha=0.18, linewidth=0)
    for level in plot.get("levels", []):
        axis.axhline(level, color="black", linestyle=":", linewidth=0.9)
    # From 0 on linear up to the smallest K, then each doubling as wide as any other.
    smallest = x[x > 0].min()
    axis.set_xscale("symlog", base=2, linthresh=smallest, linscale=0.7)
    axis.set_xlim(x.min() * 0.9 if x.min() else -0.1 * smallest, x.max() * 1.1)
    axis.set_xticks(x if len(x) < 9 else x[:: 2 if x[0] else 1], minor=False)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.tick_params(labelsize=8)
    axis.set_xlabel("observed positions K", fontsize=9)
    axis.set_ylabel(plot["ylabel"], fontsize=9)
    axis.set_title(plot["title"], fontsize=10)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=7)
