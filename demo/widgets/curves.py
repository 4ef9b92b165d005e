"""A plot of curves that takes points by click, drag or keyboard."""

from typing import Any

from demo.widgets import Widget, asset


class Curves(Widget):
    """Value: what `polynomial_actions.curves` makes. Events: `edit` carries `points`, `ask` carries `x`.

    Points that the visitor sets or drags are drawn at once, before the value that follows them is there.
    Properties besides the value: `drawn`, sampled curves (`samples`, at `x`) through `points`, shown while the plot has
    these points.
    """

    def __init__(self, value: dict | None = None, drawn: dict | None = None, **named: Any):
        super().__init__(value, "curves.js", asset("curves.html"), drawn=drawn, **named)
