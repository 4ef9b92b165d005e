"""The video tab: a few positions in space and time of a clip; play what is observed, its mean, and a sample."""

import gradio as gr

from demo import models
from demo.limits import MAX_CONTEXT, MAX_SEED
from demo.saving import save_after
from demo.share_panel import SharePanel
from demo.tab import DRAWING, Page, Tab, outdate, outdate_at_once
from demo.video_actions import CLIPS, PATTERNS, QUESTIONS
from demo.video_handlers import (
    NAME,
    SAVED,
    SHOWN,
    Visit,
    begin,
    example,
    note_if_known,
    open_video,
    recover,
    restore,
    run,
    run_if_known,
    show_restored,
    state_of,
    update,
)
from demo.widgets.log_slider import LogSlider
from demo.widgets.numbers import Number, Slider
from demo.widgets.player import Player

INTRO = (
    "**Uncover a few pixels of a clip, scattered over space and time.** The model fills in the rest: what it expects, "
    "and one clip that may well have been."
)
RESTORED = [*SAVED, "known", "truth"]
DRAWN = ["player", "save", "state"]


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    if not models.names(NAME):
        gr.Markdown("There is no checkpoint for videos: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    page = Page(Visit)
    buttons, panel = _lay_out(page)
    draws = _wire(page, buttons)

    def draw_after(event) -> None:
        draws.append(page.on(event, run_if_known, DRAWN, **DRAWING))

    def follow(event) -> None:
        draw_after(page.on(event, show_restored, DRAWN, js=outdate("#player")).then)

    def choose(event) -> None:
        draw_after(page.on(event, begin, ["truth", *SHOWN]).then)

    panel.connect(page, state_of, restore, RESTORED, follow)
    restored, back = [page[name] for name in RESTORED], page.by_component(recover)
    return Tab(NAME, restored, page.by_component(restore), follow, False, choose, back, recovers_alone=True)


def _lay_out(page: Page) -> tuple[dict[str, gr.Button], SharePanel]:
    gr.Markdown(INTRO, elem_classes="pt-intro")
    page.add(truth=gr.State(None), known=gr.State(None), opened=gr.Textbox(visible="hidden"))
    with gr.Row(elem_classes="pt-buttons"):
        buttons = {name: gr.Button(name, size="sm", min_width=110) for name in CLIPS}
    player = Player(elem_id="player", elem_classes="pt-live")
    with gr.Row(elem_classes="pt-buttons"):
        go = gr.Button("Draw a sample", variant="primary", size="sm", elem_id="draw-video", min_width=110)
        save = gr.DownloadButton("All side by side (GIF)", interactive=False, size="sm", elem_id="save-clip")
        stop = gr.Button("Stop", size="sm", min_width=70, elem_classes="pt-stop")
    state = gr.HTML("", elem_id="video-state")
    page.add(asked=False, player=player, go=go, stop=stop, save=save, state=state)
    with gr.Row():
        with gr.Column(min_width=300):
            _clip_settings(page)
        with gr.Column(min_width=300), gr.Accordion("Model and sampling", open=True):
            _sampling_settings(page)
        with gr.Column(min_width=300):
            return buttons, SharePanel(NAME)


def _clip_settings(page: Page) -> None:
    questions = [(label, name) for name, label in QUESTIONS.items()]
    page.add(
        count=LogSlider(256, 4, MAX_CONTEXT, "Random pixels", elem_id="video-count"),
        pattern=gr.Radio(questions, value=PATTERNS[0], label="The question", elem_id="video-pattern"),
        shuffle=Slider(0, 99, value=0, step=1, label="Shuffle", elem_id="video-shuffle"),
        upload=gr.File(label="Upload a video", file_types=["video", ".gif"], height=150, elem_id="clip"),
    )


def _sampling_settings(page: Page) -> None:
    names = models.names(NAME)
    page.add(
        checkpoint=gr.Dropdown(names, value=names[0], label="Model"),
        temperature=Slider(0.0, 1.5, value=0.8, step=0.05, label="Temperature"),
        seed=Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="video-seed"),
    )


def _wire(page: Page, buttons: dict[str, gr.Button]) -> list:
    """Every change shows its mean, then a sample; the old ones are dimmed until then."""
    changed = [page["count"].release, *(page[name].input for name in ("pattern", "shuffle", "checkpoint"))]
    resampled = [page["temperature"].input, page["seed"].change]
    page["seed"].mend()
    draws = [page.on(page["go"].click, run, DRAWN, **DRAWING)]
    dimmed = dict(js=outdate("#player"))
    outdate_at_once("#player", changed)
    uploaded = page.on_upload("upload", open_video, ["truth", "upload"], **dimmed)
    page.on(uploaded.failure, note_if_known, ["player"])
    opened = [page.on(button.click, example(name), ["truth", "opened"], **dimmed) for name, button in buttons.items()]
    updates = [page.on(event.then, update, SHOWN) for event in [uploaded, *opened]]
    updates += [page.on(event, update, SHOWN, **dimmed) for event in changed]
    updates += [page.on(event, note_if_known, ["player"], **dimmed) for event in resampled]
    for each in updates:
        save_after(page, NAME, SAVED, each.then)
        draws.append(page.on(each.then, run_if_known, DRAWN, **DRAWING))
    page["stop"].click(lambda: "", None, page["state"], cancels=draws, api_visibility="private")
    return draws
