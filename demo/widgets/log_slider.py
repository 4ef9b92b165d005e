"""A slider for a whole number on a logarithmic scale, with a field to type it."""

from typing import Any

from demo.widgets import Widget, asset


class LogSlider(Widget):
    """Value: an integer from `low` to `high`. Event: `release` when the visitor has chosen one."""

    def __init__(self, value: int = 64, low: int = 1, high: int = 1024, title: str = "", **named: Any):
        super().__init__(
            value,
            "log_slider.js",
            asset("log_slider.html"),
            low=low,
            high=high,
            title=title,
            **named,
        )
