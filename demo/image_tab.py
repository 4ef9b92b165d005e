"""The image tab: paint pixels or uncover some of a picture; see mean, uncertainty, samples, one pixel's value."""

from collections.abc import Callable

import gradio as gr

from demo import models, unusual
from demo.image_handlers import (
    DRAWN_PARTS,
    LIVE_PARTS,
    NAME,
    SETTINGS,
    Visit,
    change_model,
    live,
    open_example,
    open_picture,
    recall,
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
from demo.tab import DRAWING, Page, Tab, outdate

SAMPLES = "#samples, #levels"
MARGINALS_TOO = f"{SAMPLES}, #marginals"
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

    def redraw(event: Callable) -> None:
        """Samples follow an event."""
        draws.append(page.on(event, run_if_wanted, DRAWN_PARTS, **DRAWING))

    def follow(event: Callable) -> None:
        """Marginals and samples follow an event."""
        redraw(page.on(event, live, LIVE_PARTS).then)

    page.on(page["pad"].input, live, LIVE_PARTS)
    redraw(page["pad"].settle)
    changes = _wire_changes(page, follow)
    for event in (page["number"].input, page["speed"].input, page["order"].input, page["temperature"].input):
        redraw(event)
    redraw(page["seed"].change)
    draws.append(page.on(page["go"].click, run, DRAWN_PARTS, **DRAWING))
    panel.connect(page, state_of, restore, [*SETTINGS, "pad", "number", "speed", "temperature", "seed"], follow)
    _wire_outdated(page, changes, draws)
    _wire_questions(page)
    unusual.wire(page, changes)
    restored = [page[name] for name in (*SETTINGS, "pad", "number", "speed", "temperature", "seed")]
    waits = not page["samples"].value["tiles"]
    return Tab(NAME, restored, page.by_component(restore), follow, waits)


def _wire_changes(page: Page, follow: Callable) -> list[Callable]:
    """Whatever changes the pad, or what is asked about it: the events."""
    changes = [
        (page["pad"].recall, recall, [*SETTINGS, "pad"]),
        (page["checkpoint"].input, change_model, [*SETTINGS, "pad"]),
        (page["examples"].pick, open_example, [*SETTINGS, "pad", "pattern"]),
        (page["upload"].upload, open_picture, ["uploads", "upload", "pad", "uncover"]),
        (page["uncover"].click, reveal_best, ["pad"]),
        *((source, reveal_again, ["pad"]) for source in (page["pattern"].input, page["count"].release)),
        (page["shuffle"].input, reveal_again, ["pad"]),
    ]
    for event, handler, outputs in changes:
        follow(page.on(event, handler, outputs).then)
    follow(page["resolution"].input)
    return [event for event, _, _ in changes] + [page["resolution"].input]


def _wire_outdated(page: Page, changes: list[Callable], draws: list) -> None:
    """At a change, what depends on it is dimmed at once, and samples of what was there are drawn no longer."""
    settings = [page[name].input for name in ("number", "speed", "order", "temperature")] + [page["seed"].change]
    for parts, events in ((MARGINALS_TOO, changes), (SAMPLES, [page["pad"].input, *settings])):
        for event in events:
            event(None, None, None, js=outdate(parts))
            event(None, cancels=draws)
    page["stop"].click(None, None, None, js=STOPPED)
    page["stop"].click(None, cancels=draws)


def _wire_questions(page: Page) -> None:
    """A click on a picture, and the question for the most uncertain pixel."""
    for name in ("marginals", "samples"):
        page.on(page[name].pick, tell, ["density", "marginals", "samples"])
    page.on(page["hint"].click, suggest, ["pad", "density", "marginals", "samples"], show_progress="minimal")
