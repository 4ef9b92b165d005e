"""The video tab: a few places in space and time of a clip; play what is observed, its mean, and a sample."""

import gradio as gr
from PIL import Image
from torch import Tensor

from demo import models, share
from demo.answers import Sampling
from demo.files import keep
from demo.guard import guarded, on_gpu
from demo.limits import LIVE, MAX_CONTEXT, SLOW
from demo.observed import Observed, read_observed
from demo.pictures import animation, beside, enlarge
from demo.share_panel import SharePanel
from demo.tab import Tab, is_quick
from demo.video_actions import CLIPS, PATTERNS, QUESTIONS, Clip, bouncing, mean_clip, observe, read_video, sampled_clip
from demo.widgets.log_slider import LogSlider
from demo.widgets.player import Player, clip

NAME = "video"
INTRO = (
    "**Uncover a few pixels of a clip, scattered over space and time.** The model fills in the rest: what it expects, "
    "and one clip that may well have been."
)


def build() -> Tab:
    """Lay out the tab inside a `gr.Blocks`."""
    names = models.names(NAME)
    if not names:
        gr.Markdown("There is no checkpoint for videos: train one, or name one with `--checkpoint`.")
        return Tab(NAME, [])
    gr.Markdown(INTRO, elem_classes="pt-intro")
    truth, known = gr.State(None), gr.State(None)
    with gr.Row(elem_classes="pt-buttons"):
        buttons = [gr.Button(name, size="sm", min_width=110) for name in CLIPS]
    player = Player(elem_id="player", elem_classes="pt-live")
    with gr.Row(elem_classes="pt-buttons"):
        go = gr.Button("Draw a sample", variant="primary", size="sm", elem_id="draw-video", min_width=110)
        stop = gr.Button("Stop", size="sm", min_width=70)
        save = gr.DownloadButton("All side by side (GIF)", interactive=False, size="sm", elem_id="save-clip")
    with gr.Row():
        with gr.Column(min_width=300):
            count = LogSlider(256, 4, MAX_CONTEXT, "Random pixels", elem_id="video-count")
            pattern = gr.Radio(
                [(label, name) for name, label in QUESTIONS.items()],
                value=PATTERNS[0],
                label="What is given",
                elem_id="video-pattern",
            )
            upload = gr.File(label="Upload a video", file_types=["video", ".gif"], height=110)
        with gr.Column(min_width=300), gr.Accordion("Model and sampling", open=True):
            checkpoint = gr.Dropdown(names, value=names[0], label="Model")
            steps = gr.Slider(1, 512, value=96, step=1, label="Steps")
            temperature = gr.Slider(0.0, 1.5, value=0.8, step=0.05, label="Temperature")
            seed = gr.Number(0, label="Seed", precision=0)
        with gr.Column(min_width=300):
            panel = SharePanel(NAME)

    def shown(place: str, observed: Observed, true: Tensor | None, sample: Tensor | None = None, done: float = 1.0):
        seen = Clip(place, observed).seen()
        clips = [
            ("Observed", seen, f"{len(observed):,} observed places"),
            ("Mean", mean_clip(place, observed), "Mean clip"),
        ]
        if sample is not None:
            clips.append(("Sample" if done >= 1 else f"Sample, {done:.0%}", sample, "A sampled clip"))
        if true is not None:
            clips.append(("Truth", true, "The true clip"))
        return {"frames": len(seen), "clips": [clip(*each) for each in clips]}, clips

    def movie(clips: list[tuple[str, Tensor, str]]) -> str:
        frames: list[Image.Image] = [
            beside([enlarge(values[number], 160) for _, values, _ in clips]) for number in range(len(clips[0][1]))
        ]
        return keep(animation(frames, 180, 180), "clips.gif")

    @guarded
    @on_gpu
    def update(true, place, count, pattern, seed):
        if true is None:
            return gr.skip(), gr.skip(), gr.skip()
        observed = observe(true, count, pattern, 0 if seed is None else seed)
        value, clips = shown(place, observed, true)
        return observed, value, gr.update(value=movie(clips), interactive=True)

    @guarded
    def begin(true, observed, *settings):
        """The first example, where the tab is still empty."""
        if true is not None or observed is not None:
            return (gr.skip(),) * 4
        true = bouncing(next(iter(CLIPS)), settings[0])
        return true, *update(true, *settings)

    @guarded
    @on_gpu
    def run(observed, true, place, steps, temperature, seed):
        if observed is None:
            raise ValueError("video: expected one, got none; click an example or upload one")
        chosen = Sampling(1, steps, temperature, 0 if seed is None else seed)
        for sample, done in sampled_clip(place, observed, chosen):
            value, clips = shown(place, observed, true, sample, done)
            yield value, gr.skip()
        yield gr.skip(), gr.update(value=movie(clips), interactive=True)

    @guarded
    def open_video(path, place):
        return gr.skip() if path is None else read_video(path, place)

    def state_of(observed, place, steps, temperature, seed):
        if observed is None:
            raise ValueError("video: expected one, got none; click an example or upload one")
        settings = {"checkpoint": place, "steps": steps, "temperature": temperature, "seed": seed}
        return share.to_text(NAME, {**settings, **observed.to_json()})

    @on_gpu
    def restore(text: str):
        state = share.from_text(text, NAME)
        place = state.get("checkpoint")
        observed = read_observed(state, models.config_of(place, NAME), "state")
        chosen = Sampling(1, **{key: state[key] for key in ("steps", "temperature", "seed") if key in state})
        value, _ = shown(place, observed, None)
        return place, chosen.steps, chosen.temperature, chosen.seed, observed, None, value

    quiet = dict(show_progress="hidden", api_visibility="private")
    again = dict(
        fn=update, inputs=[truth, checkpoint, count, pattern, seed], outputs=[known, player, save],
        show_progress="minimal", **is_quick(),
    )  # fmt: skip
    for name, button in zip(CLIPS, buttons, strict=True):
        opened = button.click(
            guarded(lambda place, name=name: bouncing(name, place)), checkpoint, truth, **quiet, **LIVE
        )
        opened.then(**again)
    upload.upload(open_video, [upload, checkpoint], truth, **quiet, **LIVE).then(**again)
    for source in (count.release, pattern.input):
        source(**again)
    drawn = go.click(
        run, [known, truth, checkpoint, steps, temperature, seed], [player, save], show_progress="minimal",
        api_visibility="private", **SLOW,
    )  # fmt: skip
    stop.click(None, cancels=[drawn])
    restored = [checkpoint, steps, temperature, seed, known, truth, player]
    panel.connect(guarded(state_of), [known, checkpoint, steps, temperature, seed], guarded(restore), restored)

    begun = (begin, [truth, known, checkpoint, count, pattern, seed], [truth, known, player, save])
    return Tab(NAME, restored, restore, chosen=begun)
