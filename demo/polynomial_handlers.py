"""What happens at each event of the polynomial tab: functions from what a visitor sees to updates by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gradio as gr

from demo import latest, models, share
from demo.answers import Sampling
from demo.density import density_svg
from demo.guard import on_gpu
from demo.limits import MAX_SEED, whole
from demo.observed import Observed, read_observed
from demo.polynomial_actions import ask, curves, observe, pairs, read_points, sampled, write_pairs, write_points
from demo.tab import Updates
from demo.turns import Waiting, in_turn, once
from demo.widgets import fresh

NAME = "polynomial"
ASK = "<p class='pt-empty'>Choose “Ask for the density”: the distribution at the pointer shows here.</p>"
EXAMPLES = {  # number of the polynomial (or none), and its points, or how many
    "Two points": (None, "-0.6, 1.5\n0.5, -1"),
    "A bump": (None, "-0.8, 0\n-0.3, 0.2\n0, 2\n0.3, 0.2\n0.8, 0"),
    "Three of a known curve": (7, 3),
    "Seven: all is known": (12, 7),
}

UNKNOWN = -1  # number of the polynomial where there is none: a field that is empty would count as 0
SAMPLES = 5


def opening() -> dict:
    """What the plot shows before any touch: the first example."""
    values = {"checkpoint": models.names(NAME)[0], "points": EXAMPLES["Two points"][1], "truth": None}
    visit = Visit(values)
    return curves(visit.checkpoint, visit.observed, None)


@dataclass(frozen=True)
class Visit:
    """What one visitor sees when an event comes: values of the tab's controls by name, resolved when first needed."""

    values: dict[str, Any]

    @property
    def checkpoint(self) -> str:
        return self.values["checkpoint"]

    @property
    def truth(self) -> int | None:
        """Number of the random polynomial that is shown."""
        number = self.values["truth"]
        return None if number is None or number < 0 else int(number)

    @property
    def session(self) -> str:
        """The same for all events of a page; empty outside of one."""
        return self.values.get("session", "")

    @property
    def key(self) -> tuple:
        """What the curves that are drawn depend on."""
        return self.checkpoint, self.observed.fingerprint, self.sampling

    @cached_property
    def observed(self) -> Observed:
        return read_points(self.values["points"], self.checkpoint)

    @cached_property
    def sampling(self) -> Sampling:
        return Sampling(self.values["number"], None, self.values["temperature"], self.values["seed"] or 0)


@on_gpu
def redraw(visit: Visit) -> Updates:
    """Bands; a density that was asked for is out of date, and so are sampled curves."""
    latest.ask(visit.session, NAME, visit.key)
    drawn = curves(visit.checkpoint, visit.observed, visit.truth)
    return {"plot": fresh(drawn, drawn=None, edition=visit.values.get("edition", 0)), "density": ASK}


@on_gpu
def run(visit: Visit) -> Iterator[Updates]:
    """Sampled curves, when their turn has come and the visitor still wants them."""
    work = once(lambda: _remembered(visit))
    for found in [_curves[visit.key]] if visit.key in _curves else in_turn(work, small=True):
        if not latest.is_wanted(visit.session, NAME, visit.key):
            break
        if not isinstance(found, Waiting):
            positions, samples = found
            yield {"plot": gr.update(drawn={"points": pairs(visit.observed), "x": positions, "samples": samples})}
            return
    yield {"plot": gr.skip()}


REMEMBERED = 32  # sets of sampled curves kept: the opening, and what one comes back to
_curves: dict[tuple, tuple[list[float], list[list[float]]]] = {}


def _remembered(visit: Visit) -> tuple[list[float], list[list[float]]]:
    found = _curves[visit.key] = sampled(visit.checkpoint, visit.observed, visit.sampling)
    while len(_curves) > REMEMBERED:
        _curves.pop(next(iter(_curves)), None)
    return found


def edit(visit: Visit, picked: dict) -> Updates:
    """Points as they were clicked or dragged."""
    return {"points": write_pairs(picked["points"])}


@on_gpu
def tell(visit: Visit, picked: dict) -> Updates:
    """The density at an x."""
    x = picked["x"]
    return {"density": density_svg(ask(visit.checkpoint, visit.observed, x), f"Value at x = {x:.2f}")}


def another(visit: Visit) -> Updates:
    """Points of the next random polynomial."""
    return _points_of(1 if visit.truth is None else visit.truth + 1, visit)


def same(visit: Visit) -> Updates:
    """Other points of the polynomial that is shown."""
    return _points_of(1 if visit.truth is None else visit.truth, visit)


def _points_of(number: int, visit: Visit) -> Updates:
    return {"points": write_points(observe(number, visit.values["count"], visit.values["where"])), "truth": number}


def clear(visit: Visit) -> Updates:
    return {"points": "", "truth": UNKNOWN}


def example(name: str):
    """The handler of an example's button."""
    truth, points = EXAMPLES[name]
    text = points if isinstance(points, str) else write_points(observe(truth, points))

    def open_example(visit: Visit) -> Updates:
        return {"points": text, "truth": UNKNOWN if truth is None else truth}

    return open_example


def state_of(visit: Visit) -> str:
    """The tab's state as JSON text."""
    kept = {"samples": visit.values["number"], "temperature": visit.values["temperature"], "seed": visit.values["seed"]}
    state = {"checkpoint": visit.checkpoint, **kept, "polynomial": visit.truth, **visit.observed.to_json()}
    return share.to_text(NAME, state)


SAVED = ["checkpoint", "points", "truth", "number", "temperature", "seed"]


def recover(saved: dict[str, Any]) -> Updates:
    """Updates to what the browser saved: `SAVED` by name. Raises `ValueError` where it does not fit."""
    visit = Visit({name: saved[name] for name in SAVED})
    if not len(visit.observed):
        raise ValueError("saved: expected points, got none")
    visit.key  # noqa: B018  it raises where a setting does not fit
    return visit.values


def restore(text: str) -> Updates:
    """Updates to a state's JSON."""
    state = share.from_text(text, NAME)
    checkpoint = state.get("checkpoint")
    observed = read_observed(state, models.config_of(checkpoint, NAME), "state")
    chosen = Sampling(**{key: state[key] for key in ("samples", "temperature", "seed") if key in state})
    if state.get("polynomial") is not None:
        whole("state.polynomial", state["polynomial"], 0, MAX_SEED - 1)
    return {
        "checkpoint": checkpoint,
        "points": write_points(observed),
        "number": chosen.samples,
        "temperature": chosen.temperature,
        "seed": chosen.seed,
        "truth": UNKNOWN if state.get("polynomial") is None else state["polynomial"],
        "density": gr.update(value=ASK),
    }
