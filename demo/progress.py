"""A line that says how far a drawing is, or how many come before it; empty where nothing is being drawn."""

from demo.turns import Waiting


def progress_line(found: Waiting | float | None) -> str:
    """HTML of the line: for one who waits, for a share of the work from 0 to 1, or empty."""
    if found is None or found == 1:
        return ""
    if isinstance(found, Waiting):
        others = "drawing comes" if found.ahead == 1 else "drawings come"
        return f"<p class='pt-working'><progress></progress> Waiting: {found.ahead} {others} first</p>"
    return f"<p class='pt-working'><progress value='{found:.3f}'></progress> Drawing, {found:.0%}</p>"
