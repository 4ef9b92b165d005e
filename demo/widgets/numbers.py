"""Gradio's slider and number field, made to bear an empty field and numbers beyond their limits."""

import gradio as gr


class _Bounded:
    """What is missing counts as the first value, what is beyond a limit as the limit."""

    def preprocess(self, payload: float | None) -> float | int:
        first = self.minimum if self.value is None else self.value  # a visitor's own copy may hold the empty value
        number = first if payload is None else payload
        return super().preprocess(min(max(number, self.minimum), self.maximum))

    def get_block_name(self) -> str:
        return type(self).__name__.lower()


class Slider(_Bounded, gr.Slider):
    """A `gr.Slider`."""


class Number(_Bounded, gr.Number):
    """A `gr.Number` with `minimum` and `maximum`; the field shows what counts when it is left."""

    def mend(self) -> None:
        """Show the first value in an empty field, and the limit where a number is beyond it; to be called once."""
        bounded = f"Math.min({self.maximum}, Math.max({self.minimum}, value))"
        js = f"(value) => value === null || Number.isNaN(Number(value)) ? {self.value} : {bounded}"
        self.blur(None, self, self, js=js, api_visibility="private")
