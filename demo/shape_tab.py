"""The 3D tab: distances at a few points of a chair; see the mean surface, how sure it is, and sampled surfaces."""

from functools import lru_cache

import gradio as gr
import torch

from demo import example_shapes, models, share
from demo.answers import Sampling
from demo.files import keep
from demo.guard import guarded, on_gpu
from demo.limits import LIVE, MAX_SHAPE_RESOLUTION, MIN_SHAPE_RESOLUTION, SLOW
from demo.observed import Observed, read_observed
from demo.shape_actions import (
    WHERE,
    distances,
    glb,
    mean_surface,
    observe,
    observe_scan,
    point_cloud,
    read_scan,
    read_shape,
    sampled_surfaces,
)
from demo.share_panel import SharePanel
from demo.tab import Tab, is_quick
from demo.widgets.log_slider import LogSlider
from signals.mesh import sdf_to_mesh
from signals.point_clouds import EXTENSIONS

NAME = "shape"
INTRO = (
    "**How far is the surface from a few points in space?** From signed distances at the points you choose, red inside "
    "and blue outside, the model infers the whole shape. A scan works too: points on the surface, shown yellow, have "
    "distance 0. Turn the views with pointer or touch."
)


@lru_cache(maxsize=16)
def example_distances(name: str, checkpoint: str) -> torch.Tensor:
    """Distances of an example on a checkpoint's grid, computed once."""
    return distances(example_shapes.shape(name), checkpoint)


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    names = models.names(NAME)
    if not names:
        gr.Markdown("There is no checkpoint for shapes: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    gr.Markdown(INTRO, elem_classes="pt-intro")
    # What is looked at: distances (z, y, x, 1) of a mesh, or points (N, 3) of a scan.
    shape, known, drawn_files = gr.State(None), gr.State(None), gr.State((None, None))
    with gr.Row(elem_classes="pt-buttons"):
        buttons = [gr.Button(name, size="sm", min_width=90) for name in example_shapes.SHAPES]
    look = dict(height=300, clear_color=(0, 0, 0, 0), camera_position=(60, 72, 3.6))
    with gr.Row():
        seen = gr.Model3D(label="Observed points", elem_id="shape-points", min_width=280, **look)
        mean = gr.Model3D(label="Mean, bright where unsure", elem_id="shape-mean", min_width=280, **look)
        true = gr.Model3D(label="True surface", elem_id="shape-truth", min_width=280, **look)
    with gr.Row():
        samples = [
            gr.Model3D(label=f"Sample {number}", elem_id=f"shape-sample-{number}", min_width=280, **look)
            for number in (1, 2)
        ]
        with gr.Column(min_width=280):
            with gr.Row(elem_classes="pt-buttons"):
                go = gr.Button("Draw samples", variant="primary", size="sm", elem_id="draw-shape", min_width=110)
                stop = gr.Button("Stop", size="sm", min_width=70)
            count = LogSlider(256, 8, 2048, "Observed points", elem_id="shape-count")
            where = gr.Radio(list(WHERE), value=WHERE[0], label="Where")
            save = gr.DownloadButton("Mean surface (GLB)", interactive=False, size="sm", elem_id="save-glb")
    with gr.Row():
        with gr.Column(min_width=300):
            upload = gr.File(
                label="Upload a watertight mesh", file_types=[".obj", ".off", ".ply", ".stl", ".glb"], height=110
            )
            scan = gr.File(
                label="Upload a point cloud, or any mesh", file_types=list(EXTENSIONS), height=110, elem_id="scan"
            )
        with gr.Column(min_width=300), gr.Accordion("Model and sampling", open=False):
            checkpoint = gr.Dropdown(names, value=names[0], label="Model")
            side = gr.Slider(MIN_SHAPE_RESOLUTION, MAX_SHAPE_RESOLUTION, value=32, step=4, label="Cells a side")
            temperature = gr.Slider(0.0, 1.5, value=0.8, step=0.05, label="Temperature")
            steps = gr.Slider(1, 512, value=96, step=1, label="Steps")
            seed = gr.Number(0, label="Seed", precision=0)
        with gr.Column(min_width=300):
            panel = SharePanel(NAME)

    def view(mesh, name):
        return None if mesh is None else keep(glb(mesh), f"{name}.glb")

    def all_views(place, observed, side):
        surface = view(mean_surface(place, observed, side), "mean")
        return view(point_cloud(observed), "points"), surface, gr.update(value=surface, interactive=surface is not None)

    @guarded
    @on_gpu
    def update(shape, place, count, where, seed, side):
        if shape is None:
            return (gr.skip(),) * 4
        seed = 0 if seed is None else seed
        observed = observe_scan(shape, count, seed) if shape.dim() == 2 else observe(shape, count, where, seed)
        return observed, *all_views(place, observed, side)

    @guarded
    def begin(field, observed, *settings):
        """The first example, where the tab is still empty."""
        if field is not None or observed is not None:
            return (gr.skip(),) * 6
        field = example_distances(next(iter(example_shapes.SHAPES)), settings[0])
        return field, view(sdf_to_mesh(field), "truth"), *update(field, *settings)

    @guarded
    @on_gpu
    def run(observed: Observed | None, place, side, steps, temperature, seed):
        if observed is None:
            raise ValueError("shape: expected one, got none; click an example or upload a mesh")
        chosen = Sampling(2, steps, temperature, 0 if seed is None else seed)
        for surfaces in sampled_surfaces(place, observed, side, chosen):
            yield [view(surface, f"sample-{number}") for number, surface in enumerate(surfaces, 1)]

    @guarded
    def open_mesh(path, place):
        if path is None:
            return gr.skip(), gr.skip()
        field = read_shape(path, place)
        return field, view(sdf_to_mesh(field), "truth")

    @guarded
    def open_scan(path, place):
        return (gr.skip(), gr.skip()) if path is None else (read_scan(path, place), None)

    def state_of(observed, place, side, steps, temperature, seed):
        if observed is None:
            raise ValueError("shape: expected one, got none; click an example or upload a mesh")
        settings = {"checkpoint": place, "resolution": side, "steps": steps, "temperature": temperature, "seed": seed}
        return share.to_text(NAME, {**settings, **observed.to_json()})

    @on_gpu
    def restore(text: str):
        state = share.from_text(text, NAME)
        place, side = state.get("checkpoint"), state.get("resolution", 32)
        config = models.config_of(place, NAME)
        observed = read_observed(state, config, "state")
        chosen = Sampling(2, **{key: state[key] for key in ("steps", "temperature", "seed") if key in state})
        views = all_views(place, observed, side)
        return place, side, chosen.steps, chosen.temperature, chosen.seed, observed, *views, None, None, None

    quiet = dict(show_progress="hidden", api_visibility="private")
    what = [shape, checkpoint, count, where, seed, side]
    views = [known, seen, mean, save]
    again = dict(fn=update, inputs=what, outputs=views, show_progress="minimal", **is_quick())
    for name, button in zip(example_shapes.SHAPES, buttons, strict=True):

        def open_example(place, name=name):
            field = example_distances(name, place)
            return field, view(sdf_to_mesh(field), "truth")

        button.click(guarded(open_example), checkpoint, [shape, true], **quiet, **LIVE).then(**again)
    upload.upload(open_mesh, [upload, checkpoint], [shape, true], **quiet, **LIVE).then(**again)
    scan.upload(open_scan, [scan, checkpoint], [shape, true], **quiet, **LIVE).then(**again)
    for source in (count.release, where.input, side.release):
        source(**again)
    drawn = go.click(
        run, [known, checkpoint, side, steps, temperature, seed], drawn_files, show_progress="full",
        api_visibility="private", **SLOW,
    )  # fmt: skip
    # A viewer that a generator fills loads its file twice and stays blank.
    drawn.success(lambda files: tuple(files), drawn_files, samples, show_progress="full", api_visibility="private")
    stop.click(None, cancels=[drawn])
    restored = [checkpoint, side, steps, temperature, seed, known, seen, mean, save, true, *samples]
    panel.connect(guarded(state_of), [known, checkpoint, side, steps, temperature, seed], guarded(restore), restored)
    begun = (begin, [shape, known, *what[1:]], [shape, true, *views])
    return Tab(NAME, restored, restore, chosen=begun)
