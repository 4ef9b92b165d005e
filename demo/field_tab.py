"""The field tab: hide a part of a digit, and see every autoregressive model complete it, or say why it cannot."""

import base64
import html

import gradio as gr

from demo.field_actions import PATTERNS, order_pictures
from demo.field_handlers import (
    DIGITS,
    NAME,
    SAVED,
    Visit,
    edit,
    hide,
    note,
    open_digit,
    opening,
    recover,
    restore,
    run,
    state_of,
)
from demo.field_models import offered
from demo.limits import MAX_SEED
from demo.saving import save_after
from demo.share_panel import SharePanel
from demo.tab import DRAWING, Page, Tab, outdate
from demo.widgets.answers import Answers
from demo.widgets.board import Board
from demo.widgets.numbers import Number

INTRO = (
    "**Hide a part of a digit: every model completes it.** Most learned the same black-and-white digits, in 10 to 194 "
    "minutes; a model that did not says so. Most know only one order of the pixels. They can answer only if the "
    "observed pixels come first in it."
)
EMPTY = "The models' answers show here."
EXPLAINED = (
    "Left picture: a sample; right picture: the probability of ink. Drawn pixels are blue and gold, "
    "observed ones black and white. Bits: −log₂ of the probability that a model gives to what is hidden; fewer is "
    "better. The digits are drawn by strokes, not taken from the data."
)
RESTORED = ["ink", "known", "board", "pattern", "seed"]


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    if not offered():
        gr.Markdown("There are no models of the field here: `python -m baselines.field.train_all --publish true`.")
        return Tab(NAME, [])
    page = Page(Visit)
    buttons, panel = _lay_out(page)
    page["seed"].mend()

    def draw_after(event) -> None:
        page.on(event, run, ["answers", "state"], **DRAWING)

    def follow(event) -> None:
        """The answers follow an event; the old ones are dimmed until then."""
        shown = page.on(event, note, ["state", "answers"], js=outdate("#field-answers"))
        save_after(page, NAME, SAVED, shown.then)
        draw_after(shown.then)

    dimmed = dict(js=outdate("#field-answers"))
    changes = [(button.click, open_digit(number)) for number, button in buttons.items()]
    changes.append((page["pattern"].input, hide))
    for event, handler in changes:
        follow(page.on(event, handler, ["ink", "known", "board"], **dimmed).then)
    follow(page.on(page["board"].edit, edit, ["ink", "known", "pattern"], **dimmed).then)
    follow(page["seed"].change)
    panel.connect(page, state_of, restore, RESTORED, follow)
    restored, back = [page[name] for name in RESTORED], page.by_component(recover)
    return Tab(NAME, restored, page.by_component(restore), follow, False, draw_after, back, recovers_alone=True)


def _lay_out(page: Page) -> tuple[dict[int, gr.Button], SharePanel]:
    gr.Markdown(INTRO, elem_classes="pt-intro")
    start = opening()
    hidden = {name: gr.Textbox(text, visible="hidden", elem_id=f"field-{name}") for name, text in start.items()}
    page.add(**hidden)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            with gr.Row(elem_classes="pt-buttons"):
                buttons = {each: gr.Button(str(each), size="sm", min_width=44) for each in DIGITS}
            board = Board(start, elem_id="field-board")
            page.add(pattern=gr.Radio(list(PATTERNS), value=PATTERNS[0], label="Hidden", elem_id="field-pattern"))
            page.add(seed=Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="field-seed"))
            panel = SharePanel(NAME)
        with gr.Column(scale=7, min_width=320):
            gr.Markdown(EXPLAINED, elem_classes="pt-intro")
            state = gr.HTML("", elem_id="field-state")
            answers = Answers([], EMPTY, elem_id="field-answers", elem_classes="pt-live")
            with gr.Accordion("In which order do they see the pixels?", open=False):
                gr.HTML(_orders())
    page.add(asked=False, board=board, state=state, answers=answers)
    return buttons, panel


def _orders() -> str:
    """The orders as moving pictures."""
    figures = []
    for name, who, gif in order_pictures():
        url = f"data:image/gif;base64,{base64.b64encode(gif).decode()}"
        text = html.escape(f"{name}: {who}")
        figures.append(
            f'<figure><img src="{url}" alt="{text}"><figcaption>{name}<br><span>{who}</span></figcaption></figure>'
        )
    return f'<div class="pt-orders">{"".join(figures)}</div>'
