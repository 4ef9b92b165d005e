"""Parts of the page that Gradio does not have: each a small `gr.HTML` with a script beside it."""

from functools import lru_cache
from pathlib import Path


@lru_cache
def asset(name: str) -> str:
    """Text of a file in this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
