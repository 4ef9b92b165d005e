"""What happens at each event of the video tab: functions from what a visitor sees to updates by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gradio as gr
from torch import Tensor

from demo import models, share
from demo.answers import Sampling
from demo.files import keep
from demo.guard import on_gpu
from demo.observed import Observed, read_observed
from demo.pictures import animation, beside, enlarge
from demo.tab import Updates
from demo.video_actions import CLIPS, Clip, bouncing, mean_clip, observe, read_video, sampled_clip
from demo.widgets.player import clip

NAME = "video"
SHOWN = ["known", "player", "save"]
Clips = list[tuple[str, Tensor, str]]  # name, values (frames, y, x, V) and text of each clip


@dataclass(frozen=True)
class Visit:
    """What one visitor sees when an event comes: values of the tab's controls by name, resolved when first needed."""

    values: dict[str, Any]

    @property
    def checkpoint(self) -> str:
        return self.values["checkpoint"]

    @property
    def truth(self) -> Tensor | None:
        """The clip (frames, y, x, V) that is looked at; none where a link gave observed positions alone."""
        return self.values["truth"]

    @property
    def known(self) -> Observed:
        """What of it is observed."""
        if self.values["known"] is None:
            raise ValueError("video: expected one, got none; click an example or upload one")
        return self.values["known"]

    @cached_property
    def sampling(self) -> Sampling:
        values = self.values
        return Sampling(1, None, values["temperature"], values["seed"] or 0)


def _clips(visit: Visit, observed: Observed, sample: Tensor | None = None, done: float = 1.0) -> Clips:
    """All that is played side by side."""
    clips = [
        ("Observed", Clip(visit.checkpoint, observed).seen(), f"{len(observed):,} observed positions"),
        ("Mean", mean_clip(visit.checkpoint, observed), "Mean clip"),
    ]
    if sample is not None:
        clips.append(("Sample" if done >= 1 else f"Sample, {done:.0%}", sample, "A sampled clip"))
    if visit.truth is not None:
        clips.append(("Truth", visit.truth, "The true clip"))
    return clips


def _played(clips: Clips) -> dict:
    return {"frames": len(clips[0][1]), "clips": [clip(*each) for each in clips]}


def _movie(clips: Clips) -> Updates:
    frames = [beside([enlarge(values[n], 160) for _, values, _ in clips]) for n in range(len(clips[0][1]))]
    return gr.update(value=keep(animation(frames, 180, 180), "clips.gif"), interactive=True)


@on_gpu
def update(visit: Visit) -> Updates:
    """Observed positions and the mean of the clip that is looked at."""
    if visit.truth is None:
        return {"player": gr.skip()}
    observed = observe(visit.truth, visit.values["count"], visit.values["pattern"], visit.values["shuffle"] or 0)
    clips = _clips(visit, observed)
    return {"known": observed, "player": _played(clips), "save": _movie(clips)}


@on_gpu
def show_restored(visit: Visit) -> Updates:
    """The same, of observed positions that a link gave."""
    clips = _clips(visit, visit.known)
    return {"player": _played(clips), "save": _movie(clips)}


@on_gpu
def begin(visit: Visit) -> Updates:
    """The first example, where the tab is still empty."""
    if visit.truth is not None or visit.values["known"] is not None:
        return {"player": gr.skip()}
    truth = bouncing(next(iter(CLIPS)), visit.checkpoint)
    return {"truth": truth, **update(Visit(visit.values | {"truth": truth}))}


@on_gpu
def run(visit: Visit) -> Iterator[Updates]:
    """A sample while it is drawn."""
    for sample, done in sampled_clip(visit.checkpoint, visit.known, visit.sampling):
        clips = _clips(visit, visit.known, sample, done)
        yield {"player": _played(clips)}
    yield {"save": _movie(clips)}


def run_if_known(visit: Visit) -> Iterator[Updates]:
    """A sample, where there is anything to draw one of."""
    if visit.values["known"] is None:
        yield {"player": gr.skip()}
    else:
        yield from run(visit)


def example(name: str):
    """The handler of an example's button."""

    def open_example(visit: Visit) -> Updates:
        return {"truth": bouncing(name, visit.checkpoint)}

    return open_example


def open_video(visit: Visit) -> Updates:
    path = visit.values["upload"]
    return {"truth": gr.skip()} if path is None else {"truth": read_video(path, visit.checkpoint), "upload": None}


def state_of(visit: Visit) -> str:
    """The tab's state as JSON text."""
    settings = {key: visit.values[key] for key in ("checkpoint", "temperature", "seed")}
    return share.to_text(NAME, {**settings, **visit.known.to_json()})


def restore(text: str) -> Updates:
    """Updates to a state's JSON."""
    state = share.from_text(text, NAME)
    checkpoint = state.get("checkpoint")
    observed = read_observed(state, models.config_of(checkpoint, NAME), "state")
    chosen = Sampling(1, **{key: state[key] for key in ("temperature", "seed") if key in state})
    return {
        "checkpoint": checkpoint,
        "temperature": chosen.temperature,
        "seed": chosen.seed,
        "known": observed,
        "truth": None,
    }
