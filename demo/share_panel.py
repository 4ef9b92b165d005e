"""The panel of a tab that makes a link, shows the state as JSON, and opens such JSON again."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from demo import share
from demo.tab import is_quick

MAX_LINK = 7000  # characters of a link that every server and messenger bears

# Shows the link in the address bar and puts it on the clipboard, where the page may.
COPY = """(text, code, tab) => {
  if (!code) return;
  const link = new URL(window.location.href);
  link.search = "?tab=" + tab + "&state=" + code;
  history.replaceState(null, "", link);
  navigator.clipboard?.writeText(link.href).catch(() => null);
}"""


class SharePanel:
    """Buttons and a text field; `connect` says what the state is made of."""

    def __init__(self, tab: str):
        self.tab = tab
        with gr.Accordion("Share", open=False, elem_id=f"share-{tab}"):
            with gr.Row(elem_classes="pt-buttons"):
                self.make = gr.Button("Copy link", size="sm", elem_id=f"link-{tab}", min_width=90)
                self.open = gr.Button("Open JSON", size="sm", elem_id=f"open-{tab}", min_width=90)
            self.text = gr.Textbox(
                label="State as JSON",
                info="What is observed and how it is asked about. Edit it, or paste another, and open it.",
                lines=4,
                max_lines=8,
                elem_id=f"json-{tab}",
            )
            self.code = gr.Textbox(visible="hidden")
            self.name = gr.Textbox(tab, visible="hidden")
            self.note = gr.Markdown(elem_id=f"note-{tab}")

    def connect(self, state_of: Callable, inputs: list[Any], restore: Callable, restored: list[Any]) -> None:
        """`state_of(*inputs)` makes the JSON; `restore(text)` gives updates of the components `restored`."""

        def pack(*values):
            text = state_of(*values)
            code = share.to_code(text)
            if len(code) > MAX_LINK:
                return (
                    text,
                    "",
                    f"Too much for a link ({len(code):,} characters, the limit is {MAX_LINK:,}): copy the JSON.",
                )
            return text, code, "The link is in the address bar, and on the clipboard where your browser allows it."

        made = self.make.click(pack, inputs, [self.text, self.code, self.note], show_progress="hidden", **is_quick())
        made.then(None, [self.text, self.code, self.name], js=COPY)
        self.open.click(restore, self.text, restored, show_progress="minimal", **is_quick())
