"""The image tab: paint pixels or uncover some of a picture; see mean, uncertainty, samples, one pixel's value."""

from collections.abc import Callable

import gradio as gr

from demo import models, unusual
from demo.image_handlers import (
    DRAWN_PARTS,
    LIVE_PARTS,
    NAME,
    SAVED,
    SETTINGS,
    Visit,
    change_model,
    live,
    note,
    open_example,
    open_picture,
    recall,
    recover,
    restore,
    reveal_again,
    reveal_best,
    run,
    run_if_wanted,
    state_of,
    suggest,
    tell,
)
from demo.image_layout import lay_out
from demo.saving import save_after
from demo.tab import DRAWING, EACH, Page, Tab, outdate, outdate_at_once

RESTORED = [*SETTINGS, "pad", "number", "speed", "temperature", "seed", "pattern", "shuffle"]
SAMPLES = "#samples, #levels"
MARGINALS_TOO = f"{SAMPLES}, #marginals"
SHOW = "() => document.querySelector('#density').scrollIntoView({block: 'nearest', behavior: 'smooth'})"
STOPPED = """() => {
  const shown = document.querySelector("#samples .pt-result");
  shown.dataset.share = 1;
  shown.querySelector(".pt-note").textContent = "Stopped.";
}"""


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    if not models.names(NAME):
        gr.Markdown("There is no checkpoint for images: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    page = Page(Visit)
    panel = lay_out(page)
    draws: list = []

    def redraw(event: Callable, handler: Callable = run_if_wanted) -> None:
        """Samples follow an event, after a handler that noted that they are wanted."""
        draws.append(page.on(event, handler, DRAWN_PARTS, **DRAWING))

    def follow(event: Callable, outdated: str = MARGINALS_TOO) -> None:
        """Marginals and samples follow an event, and the browser saves what is there."""
        shown = page.on(event, live, LIVE_PARTS, js=outdate(outdated))
        redraw(shown.then)
        save_after(page, NAME, SAVED, shown.then)

    _wire_changes(page, follow)
    settings = [page[name].input for name in ("number", "speed", "order", "temperature")] + [page["seed"].change]
    save_after(page, NAME, SAVED, page["pad"].input, *settings)
    for event in settings:
        redraw(page.on(event, note, ["samples"], js=outdate(SAMPLES)).then)
    redraw(page.on(page["go"].click, note, ["samples"]).then, run)
    panel.connect(page, state_of, restore, RESTORED, follow)
    page["stop"].click(None, None, None, js=STOPPED)
    page["stop"].click(None, cancels=draws)
    _wire_questions(page)
    page["seed"].mend()
    unusual.wire(page)
    waits = not page["samples"].value["tiles"]
    restored, back = [page[name] for name in RESTORED], page.by_component(recover)
    return Tab(NAME, restored, page.by_component(restore), follow, waits, recover=back)


def _wire_changes(page: Page, follow: Callable) -> None:
    """Whatever changes the pad, or what is asked about it."""
    changes = [
        (page["pad"].recall, recall, [*SETTINGS, "pad"]),
        (page["examples"].pick, open_example, [*SETTINGS, "pad", "pattern"]),
        (page["uncover"].click, reveal_best, ["pad"]),
        *((source, reveal_again, ["pad"]) for source in (page["pattern"].input, page["count"].release)),
        (page["shuffle"].input, reveal_again, ["pad"]),
    ]
    dimmed = dict(js=outdate(MARGINALS_TOO))
    for event, handler, outputs in changes:
        follow(page.on(event, handler, outputs, **dimmed).then)
    follow(page.on(page["checkpoint"].input, change_model, [*SETTINGS, "pad"], **EACH, **dimmed).then)
    uploaded = page.on_upload("upload", open_picture, ["uploads", "upload", "pad", "uncover", "unusual"], **dimmed)
    follow(uploaded.then)
    follow(uploaded.failure)
    follow(page["pad"].input, SAMPLES)
    outdate_at_once(MARGINALS_TOO, [page["resolution"].input])
    follow(page["resolution"].input)


def _wire_questions(page: Page) -> None:
    """A click on a picture, and the question for the most uncertain pixel."""
    for name in ("marginals", "samples"):
        told = page.on(page[name].pick, tell, ["density", "marginals", "samples"])
        told.then(None, None, None, js=SHOW)
    told = page.on(page["hint"].click, suggest, ["pad", "density", "marginals", "samples"], show_progress="minimal")
    told.then(None, None, None, js=SHOW)
