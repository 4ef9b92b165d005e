"""A plot of curves that takes points by click or keyboard."""

from typing import Any

from demo.widgets import Widget, asset


class Curves(Widget):
    """Value: what `polynomial_actions.curves` makes. Events: `edit` carries `points`, `ask` carries `x`."""

    def __init__(self, value: dict | None = None, **named: Any):
        super().__init__(
            value,
            "curves.js",
            asset("curves.html"),
            **named,
        )
