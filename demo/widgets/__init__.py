"""Parts of the page that Gradio does not have: each a small `gr.HTML` with a script beside it."""

import inspect
import json
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr

_stamps = count(1)
_OF_HTML = set(inspect.signature(gr.HTML.__init__).parameters)


def fresh(value: Any, **properties: Any) -> dict[str, Any]:
    """An update of a widget that the page notices even where the value is what it was: nothing stays dimmed.

    With `edition`, the change that it answers, it stays dimmed where there was another change since; so does what has
    a name, unless `wanted(...)` has the same.
    """
    # The page sets one after another, and looks at the value as soon as it is there.
    return gr.update(**properties, value=value, stamp=next(_stamps))


def wanted(name: int, edition: int) -> dict[str, Any]:
    """An update of a widget: what has this name (`latest.name_of`) answers this change; anything else stays dimmed."""
    return gr.update(wanted={"name": name, "edition": edition})


def _starting(properties: dict[str, Any]) -> str:
    """A script that sets properties that are not there: in a tab that is not open at first, Gradio forgets them.

    Their names stand without quotes, as Gradio takes quoted words of a script for events.
    """
    pairs = ", ".join(f"{name}: {json.dumps(value)}" for name, value in sorted(properties.items()))
    return f"const START = {{ {pairs} }};\nfor (const name in START) props[name] ??= START[name];\n"


@lru_cache
def asset(name: str) -> str:
    """Text of a file in this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class Widget(gr.HTML):
    """A part of the page whose script `common.js` and `script` make; further arguments are its properties.

    Args:
        script (`str`): A file of this folder, or several, with spaces between.
        template (`str`): HTML, rendered with the properties.
    """

    def __init__(self, value: Any, script: str, template: str, **named: Any):
        own = set(named) - _OF_HTML
        js = _starting({name: named[name] for name in own}) + "".join(map(asset, ["common.js", *script.split()]))
        named = {"stamp": 0, "edition": None, "wanted": None, **named}
        super().__init__(value=value, html_template=template, js_on_load=js, apply_default_css=False, **named)

    def get_config(self) -> dict[str, Any]:
        # Gradio takes each quoted word of a script for an event: where a property has such a name, its configuration
        # would hold a function bound to this component, and each page load would try to copy the whole app.
        return {key: value for key, value in super().get_config().items() if key not in self.props}

    def get_block_name(self) -> str:
        return "html"
