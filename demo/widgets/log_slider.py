"""A slider for a whole number on a logarithmic scale, with a field to type it."""

from html import escape
from typing import Any

from demo.widgets import Widget, asset


class LogSlider(Widget):
    """Value: an integer from `low` to `high`. Event: `release` when the visitor has chosen one."""

    def __init__(self, value: int = 64, low: int = 1, high: int = 1024, title: str = "", **named: Any):
        # In a tab that is not open Gradio keeps properties back until something changes: the page has them as well.
        facts = {"low": low, "high": high, "title": title}
        written = " ".join(f'data-{name}="{escape(str(fact))}"' for name, fact in facts.items())
        super().__init__(
            value,
            "log_slider.js",
            asset("log_slider.html").replace('class="pt-log"', f'class="pt-log" {written}'),
            **facts,
            **named,
        )
