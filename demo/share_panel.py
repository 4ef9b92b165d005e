"""The panel of a tab that makes a link, shows the state as JSON, and opens such JSON again."""

from collections.abc import Callable

import gradio as gr

from demo import share
from demo.guard import guarded
from demo.tab import QUICK, Page, Updates

MAX_LINK = 7000  # characters of a link that every server and messenger bears

# Shows the link in the address bar and puts it on the clipboard, where the page may.
COPY = """(text, code, tab) => {
  if (!code) return;
  const link = new URL(window.location.href);
  link.search = "?tab=" + tab + "&state=" + code;
  history.replaceState(null, "", link);
  (window.ptSaved ??= {})[tab] = "";  // the next change takes the link away
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

    def connect(self, page: Page, state_of: Callable, restore: Callable, restored: list[str], follow: Callable) -> None:
        """Wire the buttons.

        Args:
            state_of (`Callable`): From a visit to the tab's state as JSON text.
            restore (`Callable`): From such a text to updates by name.
            restored (`list[str]`): Names of the components that it updates.
            follow (`Callable`): Called with the `then` of the event that restores a state.
        """
        page.add(asked=False, link_text=self.text, link_code=self.code, link_note=self.note)
        parts = ["link_text", "link_code", "link_note"]
        made = page.on(self.make.click, lambda visit: packed(state_of(visit)), parts)
        made.then(None, [self.text, self.code, self.name], js=COPY)
        opened = self.open.click(
            guarded(page.by_component(restore)),
            self.text,
            [page[name] for name in restored],
            show_progress="hidden",
            **QUICK,
        )
        follow(opened.success)


def packed(text: str) -> Updates:
    """A state's JSON with the code of its link, where it fits into one."""
    code = share.to_code(text)
    note = "The link is in the address bar, and on the clipboard where your browser allows it."
    if len(code) > MAX_LINK:
        note = f"Too much for a link ({len(code):,} characters, the limit is {MAX_LINK:,}): copy the JSON."
        code = ""
    return {"link_text": text, "link_code": code, "link_note": note}
