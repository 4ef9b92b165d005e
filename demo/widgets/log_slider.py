"""A slider for a whole number on a logarithmic scale, with a field to type it."""

from typing import Any

import gradio as gr

from demo.widgets import asset


class LogSlider(gr.HTML):
    """Value: an integer from `low` to `high`. Event: `release` when the visitor has chosen one."""

    def __init__(self, value: int = 64, low: int = 1, high: int = 1024, title: str = "", **named: Any):
        super().__init__(
            value=value,
            html_template=asset("log_slider.html"),
            js_on_load=asset("common.js") + asset("log_slider.js"),
            apply_default_css=False,
            low=low,
            high=high,
            title=title,
            **named,
        )

    def get_block_name(self) -> str:
        return "html"
