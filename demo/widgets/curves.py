"""A plot of curves that takes points by click or keyboard."""

from typing import Any

import gradio as gr

from demo.widgets import asset


class Curves(gr.HTML):
    """Value: what `polynomial_actions.curves` makes. Events: `edit` carries `points`, `ask` carries `x`."""

    def __init__(self, value: dict | None = None, **named: Any):
        super().__init__(
            value=value,
            html_template=asset("curves.html"),
            js_on_load=asset("common.js") + asset("curves.js"),
            apply_default_css=False,
            **named,
        )

    def get_block_name(self) -> str:
        return "html"
