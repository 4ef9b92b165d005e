"""Gradio's slider and number field, made to bear an empty field and numbers beyond their limits."""

import gradio as gr


class _Bounded:
    """What is missing counts as the first value, what is beyond a limit as the limit."""

    def preprocess(self, payload: float | None) -> float | int:
        number = self.value if payload is None else payload
        return super().preprocess(min(max(number, self.minimum), self.maximum))

    def get_block_name(self) -> str:
        return type(self).__name__.lower()


class Slider(_Bounded, gr.Slider):
    """A `gr.Slider`."""


class Number(_Bounded, gr.Number):
    """A `gr.Number` with `minimum` and `maximum`."""
