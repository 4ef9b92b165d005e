"""What happens at each event of the video tab: functions from what a visitor sees to updates by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gradio as gr
from torch import Tensor

from demo import latest, models, share
from demo.answers import Sampling
from demo.files import keep
from demo.guard import on_gpu
from demo.observed import Observed, read_observed
from demo.pictures import animation, beside, enlarge
from demo.progress import progress_line
from demo.tab import Updates
from demo.turns import Waiting, in_turn
from demo.video_actions import CLIPS, Clip, bouncing, mean_clip, observe, read_video, sampled_clip
from demo.widgets import fresh, wanted
from demo.widgets.player import clip

NAME = "video"
SHOWN = ["known", "player", "save", "state"]
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

    @property
    def session(self) -> str:
        """The same for all events of a page; empty outside of one."""
        return self.values.get("session", "")

    @property
    def edition(self) -> int:
        """How many changes the visitor had made."""
        return self.values.get("edition", 0)

    @property
    def key(self) -> tuple:
        """What a sample depends on."""
        return self.checkpoint, self.known.fingerprint, self.sampling

    @property
    def name(self) -> int:
        """The same for the page."""
        return latest.name_of(self.key)

    @cached_property
    def sampling(self) -> Sampling:
        values = self.values
        return Sampling(1, None, values["temperature"], values["seed"] or 0)


def _clips(visit: Visit, observed: Observed) -> Clips:
    """All that is played side by side."""
    clips = [
        ("Observed", Clip(visit.checkpoint, observed).seen(), f"{len(observed):,} observed positions"),
        ("Mean", mean_clip(visit.checkpoint, observed), "Mean clip"),
    ]
    if visit.truth is not None:
        clips.append(("Truth", visit.truth, "The true clip"))
    return clips


def _with_sample(clips: Clips, sample: Tensor, done: float) -> Clips:
    name = "Sample" if done >= 1 else f"Sample, {done:.0%}"
    return [*clips[:2], (name, sample, "A sampled clip"), *clips[2:]]


def _played(visit: Visit, clips: Clips) -> Updates:
    return fresh({"frames": len(clips[0][1]), "clips": [clip(*each) for each in clips], "name": visit.name})


def _movie(clips: Clips) -> Updates:
    frames = [beside([enlarge(values[n], 160) for _, values, _ in clips]) for n in range(len(clips[0][1]))]
    return gr.update(value=keep(animation(frames, 180, 180), "clips.gif"), interactive=True)


@on_gpu
def update(visit: Visit) -> Updates:
    """Observed positions and the mean of the clip that is looked at."""
    if visit.truth is None:
        return note_if_known(visit)
    observed = observe(visit.truth, visit.values["count"], visit.values["pattern"], visit.values["shuffle"] or 0)
    shown = show_restored(Visit(visit.values | {"known": observed}))
    return {"known": observed, **shown, "state": ""}


@on_gpu
def show_restored(visit: Visit) -> Updates:
    """The same, of observed positions that a link gave."""
    clips = _clips(visit, visit.known)
    return {"player": note(visit)["player"] | _played(visit, clips), "save": _movie(clips)}


@on_gpu
def begin(visit: Visit) -> Updates:
    """The first example, where the tab is still empty."""
    if visit.truth is not None or visit.values["known"] is not None:
        return {"player": gr.skip()}
    name = visit.values["opened"]
    truth = bouncing(name if name in CLIPS else next(iter(CLIPS)), visit.checkpoint)
    return {"truth": truth, **update(Visit(visit.values | {"truth": truth}))}


def note(visit: Visit) -> Updates:
    """The visitor wants a sample as the controls say now: others stop."""
    latest.ask(visit.session, NAME, visit.key)
    return {"player": wanted(visit.name, visit.edition)}


def note_if_known(visit: Visit) -> Updates:
    """The same, where there is anything to draw a sample of."""
    return {"player": gr.skip()} if visit.values["known"] is None else note(visit)


@on_gpu
def run(visit: Visit) -> Iterator[Updates]:
    """A sample while it is drawn, until the visitor asks for another."""
    base = _clips(visit, visit.known)
    for found in in_turn(sampled_clip(visit.checkpoint, visit.known, visit.sampling), small=False):
        if not latest.is_wanted(visit.session, NAME, visit.key):
            yield {"state": ""}
            return
        if isinstance(found, Waiting):
            yield {"state": progress_line(found)}
            continue
        sample, done = found
        clips = _with_sample(base, sample, done)
        yield {"player": _played(visit, clips), "state": progress_line(done)}
    yield {"save": _movie(clips), "state": ""}


def run_if_known(visit: Visit) -> Iterator[Updates]:
    """A sample, where there is anything to draw one of."""
    if visit.values["known"] is None:
        yield {"player": gr.skip()}
    else:
        yield from run(visit)


def example(name: str):
    """The handler of an example's button."""

    def open_example(visit: Visit) -> Updates:
        return {"truth": bouncing(name, visit.checkpoint), "opened": name}

    return open_example


def open_video(visit: Visit) -> Updates:
    path = visit.values["upload"]
    return {"truth": gr.skip()} if path is None else {"truth": read_video(path, visit.checkpoint), "upload": None}


def state_of(visit: Visit) -> str:
    """The tab's state as JSON text."""
    settings = {key: visit.values[key] for key in ("checkpoint", "temperature", "seed")}
    return share.to_text(NAME, {**settings, **visit.known.to_json()})


SAVED = ["checkpoint", "count", "pattern", "shuffle", "temperature", "seed", "opened"]


def recover(saved: dict[str, Any]) -> Updates:
    """Updates to what the browser saved: `SAVED` by name; an upload is not. Raises `ValueError` where it does not
    fit."""
    models.config_of(saved["checkpoint"], NAME)
    Sampling(1, None, saved["temperature"], saved["seed"] or 0)
    return {name: saved[name] for name in SAVED}


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
