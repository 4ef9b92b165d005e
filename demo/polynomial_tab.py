"""The polynomial tab: click points; see bands, sampled curves, the exact posterior, and the density at an x."""

import gradio as gr

from demo import models
from demo.limits import MAX_SAMPLES, MAX_SEED
from demo.polynomial_actions import REGION_NAMES
from demo.polynomial_handlers import (
    ASK,
    EXAMPLES,
    NAME,
    SAMPLES,
    SAVED,
    UNKNOWN,
    Visit,
    another,
    clear,
    edit,
    example,
    opening,
    recover,
    redraw,
    restore,
    run,
    same,
    state_of,
    tell,
)
from demo.saving import save_after
from demo.share_panel import SharePanel
from demo.tab import DRAWING, EACH, Page, Tab, at_start, outdate, outdate_at_once
from demo.widgets.curves import Curves
from demo.widgets.numbers import Number, Slider

INTRO = (
    "**Click points of a curve.** The model has seen random polynomials of degree 6 and shows how the curve may go on. "
    "For these the exact answer is known, and drawn too; it counts points as known to four decimals."
)
RESTORED = ["checkpoint", "points", "number", "temperature", "seed", "truth", "density"]


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    if not models.names(NAME):
        gr.Markdown("There is no checkpoint for polynomials: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    page = Page(Visit)
    buttons, panel = _lay_out(page)

    def follow(event, **options) -> None:
        """Bands, then sampled curves follow an event; the old ones are dimmed until then."""
        shown = page.on(event, redraw, ["plot", "density"], js=outdate("#curves"), **options)
        page.on(shown.then, run, ["plot"], **DRAWING)
        save_after(page, NAME, SAVED, shown.then)

    _wire(page, buttons, follow)
    panel.connect(page, state_of, restore, RESTORED, follow)
    restored = [page[name] for name in RESTORED]
    waits = page["plot"].value is None

    def choose(event) -> None:
        page.on(event, run, ["plot"], **DRAWING)

    return Tab(NAME, restored, page.by_component(restore), follow, waits, choose, page.by_component(recover))


def _lay_out(page: Page) -> tuple[dict[str, gr.Button], SharePanel]:
    gr.Markdown(INTRO, elem_classes="pt-intro")
    page.add(truth=gr.Number(UNKNOWN, visible="hidden", precision=0, elem_id="polynomial-number"))
    with gr.Row(elem_classes="pt-buttons"):
        buttons = {name: gr.Button(name, size="sm", min_width=110) for name in EXAMPLES}
    with gr.Row():
        with gr.Column(scale=7, min_width=320):
            plot = Curves(at_start(opening), elem_id="curves", elem_classes="pt-live")
            page.add(asked=False, plot=plot, density=gr.HTML(ASK, elem_id="curve-density"))
        with gr.Column(scale=3, min_width=280):
            _controls(page)
            return buttons, SharePanel(NAME)


def _controls(page: Page) -> None:
    page.add(
        points=gr.Textbox(
            EXAMPLES["Two points"][1],
            label="Points",
            info="x in [-1, 1] and y, one point a line. Type them, then click elsewhere.",
            lines=5,
            max_lines=10,
            elem_id="points",
        )
    )
    with gr.Row(elem_classes="pt-buttons"):
        fresh = gr.Button("New random curve", size="sm", min_width=120, elem_id="fresh")
        page.add(asked=False, fresh=fresh, empty=gr.Button("Clear", size="sm", min_width=70))
    page.add(
        count=Slider(0, 12, value=3, step=1, label="Points of a random curve"),
        where=gr.Radio(list(REGION_NAMES), value=REGION_NAMES[0], label="Where", elem_id="curve-where"),
    )
    with gr.Accordion("Model and sampling", open=False):
        names = models.names(NAME)
        page.add(
            checkpoint=gr.Dropdown(names, value=names[0], label="Model"),
            number=Slider(1, MAX_SAMPLES, value=SAMPLES, step=1, label="Sampled curves"),
            temperature=Slider(0.0, 1.5, value=1.0, step=0.05, label="Temperature"),
            seed=Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED),
        )


def _wire(page: Page, buttons: dict[str, gr.Button], follow) -> None:
    page["seed"].mend()
    follow(page.on(page["plot"].edit, edit, ["points"], js=outdate("#curves")).then)
    page.on(page["plot"].ask, tell, ["density"])
    follow(page["points"].blur, **EACH)
    direct = [page["seed"].change, *(page[name].input for name in ("number", "temperature", "checkpoint"))]
    outdate_at_once("#curves", direct)
    changes = [(page["fresh"].click, another), (page["empty"].click, clear)]
    changes += [(source, same) for source in (page["count"].input, page["where"].input)]
    changes += [(button.click, example(name)) for name, button in buttons.items()]
    for event in direct:
        follow(event)
    for event, handler in changes:
        follow(page.on(event, handler, ["points", "truth"], js=outdate("#curves")).then)
