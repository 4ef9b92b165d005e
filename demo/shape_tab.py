"""The 3D tab: distances at a few points of a chair; see the likely surface, how sure it is, and sampled surfaces."""

from typing import Any

import gradio as gr

from demo import example_shapes, models
from demo.limits import MAX_SEED, MAX_SHAPE_RESOLUTION, MIN_SHAPE_RESOLUTION
from demo.saving import save_after
from demo.shape_actions import WHERE
from demo.shape_handlers import (
    NAME,
    SAMPLES,
    SAVED,
    VIEWS,
    Visit,
    add_point,
    begin,
    cut,
    example,
    forget,
    keep_views,
    note,
    open_mesh,
    open_scan,
    recover,
    redraw,
    restore,
    run,
    show_files,
    state_of,
    turn,
    update,
)
from demo.share_panel import SharePanel
from demo.slices import AXES
from demo.tab import DRAWING, Page, Tab, outdate, outdate_at_once, renew
from demo.widgets.log_slider import LogSlider
from demo.widgets.numbers import Number, Slider
from demo.widgets.tiles import Tiles
from signals.point_clouds import EXTENSIONS

INTRO = (
    "**How far is the surface from a few points in space?** From signed distances at the points you choose, red inside "
    "and blue outside, the model infers the whole shape. A scan works too: points on the surface, shown yellow, have "
    "distance 0. Turn the views with pointer or touch."
)
MESHES = [".obj", ".off", ".ply", ".stl", ".glb"]
RESTORED = [*SAVED, "known", "shape", "truth", *SAMPLES]
SHOWN = [*VIEWS, *SAMPLES]
UPLOADS = {"upload": open_mesh, "scan": open_scan}
OPENED = ["shape", "truth", "up", "opened", *SHOWN]
SHAPE = [*OPENED, *UPLOADS]
VIEWERS = "#shape-likely, #shape-points, #shape-slice, #shape-sample-1, #shape-sample-2"
DIMMED = dict(js=outdate(VIEWERS))
BUSY = dict(show_progress="minimal", **DIMMED)  # where nothing can be refused: each view would say "Error"
CLICK = "Choose an example: a click on this slice then observes the distance there."


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    if not models.names(NAME):
        gr.Markdown("There is no checkpoint for shapes: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    page = Page(Visit)
    buttons, panel = _lay_out(page)
    _wire(page, buttons)

    def follow(event) -> None:
        _renew_after(page, page.on(event, update, SHOWN, **BUSY))

    panel.connect(page, state_of, restore, RESTORED, follow)

    def choose(event) -> None:
        page.on(event, begin, OPENED)

    restored, back = [page[name] for name in RESTORED], page.by_component(recover)
    return Tab(NAME, restored, page.by_component(restore), follow, False, choose, back, recovers_alone=True)


def _lay_out(page: Page) -> tuple[dict[str, gr.Button], SharePanel]:
    gr.Markdown(INTRO, elem_classes="pt-intro")
    page.add(shape=gr.State(None), known=gr.State(None), files=gr.State(None), opened=gr.Textbox(visible="hidden"))
    page.add(asked=False, answered=gr.Textbox(visible="hidden"))  # the change that the views answer
    with gr.Row(elem_classes="pt-buttons"):
        buttons = {name: gr.Button(name, size="sm", min_width=90) for name in example_shapes.SHAPES}
    look = dict(height=300, clear_color=(0, 0, 0, 0), camera_position=(60, 72, 3.6), min_width=280)
    with gr.Row():
        seen = gr.Model3D(label="Observed points", elem_id="shape-points", **look)
        likely = gr.Model3D(label="Likely, bright where unsure", elem_id="shape-likely", **look)
        true = gr.Model3D(label="True surface", elem_id="shape-truth", **look)
    with gr.Row(elem_classes="pt-buttons"):
        go = gr.Button("Draw samples", variant="primary", size="sm", elem_id="draw-shape", min_width=110)
        stop = gr.Button("Stop", size="sm", min_width=70, elem_classes="pt-stop")
        state = gr.HTML("", elem_id="shape-state")
    with gr.Row():
        for number, name in enumerate(SAMPLES, 1):
            view = gr.Model3D(label=f"Sample {number}", elem_id=f"shape-sample-{number}", **look)
            page.add(asked=False, **{name: view})
        with gr.Column(min_width=280):
            _slice(page)
    with gr.Row():
        with gr.Column(min_width=280):
            _point_settings(page)
        page.add(asked=False, seen=seen, likely=likely, truth=true, go=go, stop=stop, state=state)
        return buttons, _other_settings(page)


def _slice(page: Page) -> None:
    """A plane through the shape; a click on it observes the distance there."""
    page.add(asked=False, slice=Tiles(elem_id="shape-slice", elem_classes="pt-live", label="Slice", empty=CLICK))
    with gr.Row(elem_classes="pt-buttons"):
        page.add(
            axis=gr.Radio(list(AXES), value="y", label="Slice across", elem_id="shape-axis", min_width=120),
            depth=Slider(1, 32, value=16, step=1, label="Depth", elem_id="shape-depth", min_width=140),
        )


def _point_settings(page: Page) -> None:
    page.add(
        count=LogSlider(256, 8, 2048, "Observed points", elem_id="shape-count"),
        where=gr.Radio(list(WHERE), value=WHERE[0], label="Where", elem_id="shape-where"),
        shuffle=Slider(0, 99, value=0, step=1, label="Shuffle", elem_id="shape-shuffle"),
        up=gr.Radio(list(AXES), value="z", label="Axis of the file that points up", elem_id="shape-up"),
    )
    save = gr.DownloadButton("Likely surface (GLB)", interactive=False, size="sm", elem_id="save-glb")
    page.add(asked=False, save=save)


def _other_settings(page: Page) -> SharePanel:
    names = models.names(NAME)
    with gr.Column(min_width=300):
        page.add(
            upload=gr.File(label="Upload a watertight mesh", file_types=MESHES, height=150, elem_id="mesh"),
            scan=gr.File(
                label="Upload a point cloud, or any mesh", file_types=list(EXTENSIONS), height=150, elem_id="scan"
            ),
        )
    with gr.Column(min_width=300), gr.Accordion("Model and sampling", open=False):
        page.add(
            checkpoint=gr.Dropdown(names, value=names[0], label="Model"),
            side=Slider(MIN_SHAPE_RESOLUTION, MAX_SHAPE_RESOLUTION, value=32, step=4, label="Cells a side"),
            temperature=Slider(0.0, 1.5, value=0.7, step=0.05, label="Temperature"),
            seed=Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="shape-seed"),
        )
    with gr.Column(min_width=300):
        return SharePanel(NAME)


def _wire(page: Page, buttons: dict[str, gr.Button]) -> None:
    """Every change shows observed points and likely surface anew and takes the samples away.

    How many points there are, where, and which ("Shuffle") decide what is observed. All other changes keep the points,
    clicked ones among them.
    """
    page["seed"].mend()
    shapes = [page.on(button.click, example(name), SHAPE, **DIMMED) for name, button in buttons.items()]
    shapes += [page.on_upload(name, handler, SHAPE, **DIMMED) for name, handler in UPLOADS.items()]
    refusable = [*shapes, page.on(page["slice"].pick, add_point, SHOWN, **DIMMED)]
    changed = [page["count"].release, page["where"].input, page["shuffle"].input]
    redrawn = [page["side"].input, page["checkpoint"].input, page["seed"].change]
    outdate_at_once(VIEWERS, [*changed, *redrawn, page["up"].input])
    shown = refusable + [page.on(event, update, SHOWN, **BUSY) for event in changed]
    shown += [page.on(event, redraw, SHOWN, **BUSY) for event in redrawn]
    shown.append(page.on(page["up"].input, turn, ["truth", *SHOWN], **BUSY))
    for each in shown:
        save_after(page, NAME, SAVED, each.then)
    for each in shown + [page.on(each.failure, keep_views, ["answered"]) for each in refusable]:
        _renew_after(page, each)
    page.on(page["axis"].input, cut, ["slice"])
    page.on(page["depth"].input, cut, ["slice"])
    page.on(page["temperature"].input, forget, SAMPLES)
    _wire_samples(page)


def _renew_after(page: Page, shown: Any) -> None:
    """The views are not dimmed any more where they answer the last change."""
    shown.then(None, page["answered"], None, js=renew(VIEWERS), api_visibility="private")


def _wire_samples(page: Page) -> None:
    """Samples wait in line behind the changes before them: they are of the shape that was chosen last."""
    noted = page.on(page["go"].click, note, ["state"], show_progress="minimal")
    drawn = page.on(noted.success, run, ["files", "state"], **DRAWING)
    shown = page.on(drawn.success, show_files, SAMPLES)
    page["stop"].click(lambda: "", None, page["state"], cancels=[noted, drawn, shown], api_visibility="private")
