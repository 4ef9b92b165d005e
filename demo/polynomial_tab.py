"""The polynomial tab: click points; see bands, sampled curves, the exact posterior, and the density at an x."""

import gradio as gr

from demo import models, share
from demo.answers import Sampling
from demo.density import density_svg
from demo.guard import guarded, on_gpu
from demo.limits import LIVE, MAX_SAMPLES
from demo.observed import read_observed
from demo.polynomial_actions import REGION_NAMES, ask, curves, observe, read_points, sampled, write_points
from demo.share_panel import SharePanel
from demo.tab import Tab, is_quick
from demo.widgets.curves import Curves

NAME = "polynomial"
INTRO = (
    "**Click points of a curve.** The model has seen random polynomials of degree 6 and tells how the curve may go on; "
    "for these the exact answer is known, and drawn beside it."
)
EXAMPLES = {  # number of the polynomial (or none), points
    "Two points": (None, "-0.6, 1.5\n0.5, -1"),
    "A bump": (None, "-0.8, 0\n-0.3, 0.2\n0, 2\n0.3, 0.2\n0.8, 0"),
    "Three of a known curve": (7, ""),
    "Seven: all is known": (12, ""),
}
COUNTS = {"Three of a known curve": 3, "Seven: all is known": 7}


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    names = models.names(NAME)
    if not names:
        gr.Markdown("There is no checkpoint for polynomials: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    gr.Markdown(INTRO, elem_classes="pt-intro")
    truth = gr.State(None)
    with gr.Row(elem_classes="pt-buttons"):
        buttons = [gr.Button(name, size="sm", min_width=110) for name in EXAMPLES]
    with gr.Row():
        with gr.Column(scale=7, min_width=320):
            plot = Curves(elem_id="curves", elem_classes="pt-live")
            density = gr.HTML(
                "<p class='pt-empty'>Choose “Ask for the density”, then click an x.</p>", elem_id="curve-density"
            )
        with gr.Column(scale=3, min_width=280):
            points = gr.Textbox(
                EXAMPLES["Two points"][1],
                label="Points",
                info="x in [-1, 1] and y, one point a line; Enter them, then leave the field.",
                lines=5,
                max_lines=10,
                elem_id="points",
            )
            with gr.Row(elem_classes="pt-buttons"):
                fresh = gr.Button("New random curve", size="sm", min_width=120, elem_id="fresh")
                empty = gr.Button("Clear", size="sm", min_width=70)
            count = gr.Slider(0, 12, value=3, step=1, label="Points of a random curve")
            where = gr.Radio(list(REGION_NAMES), value=REGION_NAMES[0], label="Where", elem_id="curve-where")
            with gr.Accordion("Model and sampling", open=False):
                checkpoint = gr.Dropdown(names, value=names[0], label="Model")
                number = gr.Slider(1, MAX_SAMPLES, value=5, step=1, label="Sampled curves")
                temperature = gr.Slider(0.0, 1.5, value=1.0, step=0.05, label="Temperature")
                seed = gr.Number(0, label="Seed", precision=0)
            panel = SharePanel(NAME)
    inputs = [checkpoint, points, number, temperature, seed, truth]

    @guarded
    @on_gpu
    def redraw(place, text, number, temperature, seed, known):
        observed = read_points(text, place)
        drawn = curves(place, observed, known)
        yield drawn
        places, samples = sampled(place, observed, Sampling(number, 64, temperature, 0 if seed is None else seed))
        yield drawn | {"samples": samples, "sample_x": places}

    @guarded
    def edit(event: gr.EventData):
        return "\n".join(f"{x:.3f}, {y:.3f}" for x, y in event.points)

    @guarded
    @on_gpu
    def tell(place, text, event: gr.EventData):
        return density_svg(ask(place, read_points(text, place), event.x), f"Value at x = {event.x:.2f}")

    @guarded
    def another(known, count, where):
        following = 1 if known is None else known + 1
        return write_points(observe(following, count, where)), following

    @guarded
    def same(known, count, where):
        return another(1 if known is None else known - 1, count, where)

    def state_of(place, text, number, temperature, seed, known):
        sampling = {"samples": number, "temperature": temperature, "seed": seed, "polynomial": known}
        return share.to_text(NAME, {"checkpoint": place, **sampling, **read_points(text, place).to_json()})

    def restore(text: str):
        state = share.from_text(text, NAME)
        place = state.get("checkpoint")
        observed = read_observed(state, models.config_of(place, NAME), "state")
        chosen = Sampling(**{key: state[key] for key in ("samples", "temperature", "seed") if key in state})
        known = state.get("polynomial")
        drawn = curves(place, observed, known)
        return place, write_points(observed), chosen.samples, chosen.temperature, chosen.seed, known, drawn

    quiet = dict(show_progress="hidden", api_visibility="private")
    live = dict(fn=redraw, inputs=inputs, outputs=plot, show_progress="hidden", **is_quick())
    plot.edit(edit, None, points, **quiet, **LIVE).then(**live)
    plot.ask(tell, [checkpoint, points], density, **quiet, **LIVE)
    points.blur(**live)
    for source in (number.release, temperature.release, seed.change, checkpoint.input):
        source(**live)
    fresh.click(another, [truth, count, where], [points, truth], **quiet, **LIVE).then(**live)
    for source in (count.release, where.input):
        source(same, [truth, count, where], [points, truth], **quiet).then(**live)
    empty.click(lambda: ("", None), None, [points, truth], **quiet).then(**live)
    for name, button in zip(EXAMPLES, buttons, strict=True):
        known, text = EXAMPLES[name]
        text = text or write_points(observe(known, COUNTS[name]))
        button.click(lambda text=text, known=known: (text, known), None, [points, truth], **quiet).then(**live)
    restored = [checkpoint, points, number, temperature, seed, truth, plot]
    panel.connect(guarded(state_of), inputs, guarded(restore), restored)
    return Tab(NAME, restored, restore, (redraw, inputs, plot))
