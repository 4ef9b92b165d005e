"""What happens at each event of the 3D tab: functions from what a visitor sees to updates by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr
import trimesh
from torch import Tensor

from demo import example_shapes, latest, models, share
from demo.answers import Sampling
from demo.files import keep
from demo.guard import on_gpu
from demo.observed import Observed, read_observed
from demo.pictures import picture_url
from demo.progress import progress_line
from demo.shape_actions import (
    cube,
    distances,
    glb,
    likely_surface,
    observe,
    observe_scan,
    point_cloud,
    read_scan,
    read_shape,
    sampled_surfaces,
)
from demo.slices import AXES, measured, slice_picture, turned
from demo.tab import Updates
from demo.turns import in_turn
from demo.widgets import fresh
from demo.widgets.tiles import tile
from signals.mesh import sdf_to_mesh

NAME = "shape"
SAMPLES = ["sample_1", "sample_2"]
VIEWS = ["known", "seen", "likely", "save", "slice", "answered"]
OLD = dict.fromkeys(SAMPLES)  # samples of another shape are taken away
STOPPED = "<p class='pt-stopped'>Stopped by a change: press “Draw samples” for samples of what is shown now.</p>"


@dataclass(frozen=True)
class Visit:
    """What one visitor sees when an event comes: values of the tab's controls by name, resolved when first needed."""

    values: dict[str, Any]

    @property
    def checkpoint(self) -> str:
        return self.values["checkpoint"]

    @property
    def shape(self) -> Tensor | None:
        """What is looked at: distances (z, y, x, 1) of a mesh, or points (N, 3) of a scan; or observed points alone."""
        return self.values["shape"]

    @property
    def session(self) -> str:
        """The same for all events of a page; empty outside of one."""
        return self.values.get("session", "")

    @property
    def edition(self) -> int:
        """How many changes the visitor had made."""
        return self.values.get("edition", 0)

    @property
    def turned(self) -> Tensor | None:
        """The shape with the axis that was chosen upwards."""
        return None if self.shape is None else turned(self.shape, self.values["up"])

    @property
    def plane(self) -> tuple[str, int]:
        """The slice that is shown: the axis that it lies across, and its number."""
        return self.values["axis"], self.values["depth"]

    @property
    def known(self) -> Observed:
        if self.values["known"] is None:
            raise ValueError("shape: expected one, got none; click an example or upload a mesh")
        return self.values["known"]

    @property
    def seed(self) -> int:
        return self.values["seed"] or 0

    @property
    def sampling(self) -> Sampling:
        return Sampling(len(SAMPLES), None, self.values["temperature"], self.seed)

    @property
    def key(self) -> tuple:
        """What samples depend on."""
        return self.checkpoint, self.known.fingerprint, self.values["side"], self.sampling


@lru_cache(maxsize=16)
def example_distances(name: str, checkpoint: str) -> Tensor:
    """Distances of an example on a checkpoint's grid, computed once."""
    return distances(example_shapes.shape(name), checkpoint)


def view(mesh: trimesh.Trimesh | None, name: str) -> str | None:
    """A file of a mesh for a viewer."""
    return None if mesh is None else keep(glb(mesh), f"{name}.glb")


def _views(visit: Visit, observed: Observed) -> Updates:
    note(Visit(visit.values | {"known": observed}))
    surface = view(likely_surface(visit.checkpoint, observed, visit.values["side"]), "likely")
    save = gr.update(value=surface, interactive=surface is not None)
    shown = {"known": observed, "seen": view(point_cloud(observed), "points"), "likely": surface, "save": save}
    return shown | {"slice": _slice(visit, observed), **keep_views(visit), **OLD}


def keep_views(visit: Visit) -> Updates:
    """What is shown answers all changes up to now; so it does after one that was refused, as a damaged file is."""
    return {"answered": visit.edition}


def _slice(visit: Visit, observed: Observed) -> Updates:
    axis, depth = visit.plane
    picture = slice_picture(visit.checkpoint, observed, axis, depth)
    across = " and ".join(name for name in AXES if name != axis)
    text = f"Mean distance in the plane {depth} across {axis}; right and up are {across}"
    return fresh([tile("Slice", picture_url(picture), text, "red inside, blue outside")], edition=visit.edition)


@on_gpu
def update(visit: Visit) -> Updates:
    """Observe points of the open shape, and show them and the likely surface."""
    shape, count, shuffle = visit.turned, visit.values["count"], visit.values["shuffle"] or 0
    if shape is None:
        return redraw(visit)
    if shape.dim() == 2:
        return _views(visit, observe_scan(shape, count, shuffle))
    return _views(visit, observe(shape, count, visit.values["where"], shuffle))


@on_gpu
def redraw(visit: Visit) -> Updates:
    """Show the points that are known already, clicked ones among them, and the likely surface."""
    return keep_views(visit) if visit.values["known"] is None else _views(visit, visit.known)


def turn(visit: Visit) -> Updates:
    """The shape with another axis upwards."""
    shape = visit.turned
    truth = gr.skip() if shape is None or shape.dim() == 2 else view(sdf_to_mesh(shape), "truth")
    return {**update(visit), "truth": truth}


@on_gpu
def cut(visit: Visit) -> Updates:
    """Another slice."""
    return {"slice": gr.skip() if visit.values["known"] is None else _slice(visit, visit.known)}


@on_gpu
def add_point(visit: Visit, picked: dict) -> Updates:
    """The distance where the slice was clicked, observed too."""
    shape = visit.turned
    if shape is None or shape.dim() == 2:
        raise ValueError("slice: a distance is measured where the whole surface is known; choose an example or a mesh")
    return _views(visit, measured(shape, visit.known, *visit.plane, picked["x"], picked["y"]))


@on_gpu
def begin(visit: Visit) -> Updates:
    """The first example, where the tab is still empty."""
    if visit.shape is not None or visit.values["known"] is not None:
        return {"likely": gr.skip()}
    name = visit.values["opened"]
    return example(name if name in example_shapes.SHAPES else next(iter(example_shapes.SHAPES)))(visit)


def note(visit: Visit) -> Updates:
    """The visitor wants samples as the controls say now: others stop."""
    latest.ask(visit.session, NAME, visit.key)
    return {"state": ""}


@on_gpu
def run(visit: Visit) -> Iterator[Updates]:
    """How far sampled surfaces are, then their files, all at once."""
    work = sampled_surfaces(visit.checkpoint, visit.known, visit.values["side"], visit.sampling)
    for found in in_turn(work, small=False):
        if not latest.is_wanted(visit.session, NAME, visit.key):
            yield {"state": STOPPED, "files": None}
            return
        if isinstance(found, list):
            files = [view(surface, f"sample-{number}") for number, surface in enumerate(found, 1)]
            yield {"files": (visit.key, files), "state": ""}
        else:
            yield {"state": progress_line(found)}


def forget(visit: Visit) -> Updates:
    """Samples of other settings are taken away, and drawn no longer."""
    if visit.values["known"] is not None:
        note(visit)
    return OLD


def show_files(visit: Visit) -> Updates:
    """Sampled surfaces in their viewers, where they are still wanted; a viewer that a generator fills loads its file
    twice and stays blank."""
    key, files = visit.values["files"] or (None, OLD.values())
    return dict(zip(SAMPLES, files, strict=True)) if latest.is_wanted(visit.session, NAME, key) else OLD


def _opened(visit: Visit, shape: Tensor, **more: Any) -> Updates:
    """Another shape and all that is shown of it: in one event, so that what is asked meanwhile is asked about it."""
    changed = {"shape": shape, "up": "z"}
    return {**changed, **more, **update(Visit(visit.values | changed))}


def example(name: str):
    """The handler of an example's button."""

    def open_example(visit: Visit) -> Updates:
        field = example_distances(name, visit.checkpoint)
        return _opened(visit, field, truth=view(sdf_to_mesh(field), "truth"), opened=name)

    return open_example


def open_mesh(visit: Visit) -> Updates:
    path = visit.values["upload"]
    if path is None:
        return keep_views(visit)
    field = read_shape(path, visit.checkpoint)
    return _opened(visit, field, truth=view(sdf_to_mesh(field), "truth"), upload=None)


def open_scan(visit: Visit) -> Updates:
    path = visit.values["scan"]
    if path is None:
        return keep_views(visit)
    return _opened(visit, read_scan(path, visit.checkpoint), truth=None, scan=None)


def state_of(visit: Visit) -> str:
    """The tab's state as JSON text."""
    values = visit.values
    settings = {"checkpoint": visit.checkpoint, "resolution": values["side"]}
    settings |= {key: values[key] for key in ("temperature", "seed")}
    return share.to_text(NAME, {**settings, **visit.known.to_json()})


SAVED = ["checkpoint", "count", "where", "shuffle", "side", "temperature", "seed", "axis", "depth", "opened"]


def recover(saved: dict[str, Any]) -> Updates:
    """Updates to what the browser saved: `SAVED` by name; an upload is not. Raises `ValueError` where it does not
    fit."""
    visit = Visit({name: saved[name] for name in SAVED})
    models.config_of(visit.checkpoint, NAME)
    Sampling(temperature=saved["temperature"], seed=saved["seed"] or 0)
    return visit.values


def restore(text: str) -> Updates:
    """Updates to a state's JSON."""
    state = share.from_text(text, NAME)
    checkpoint = state.get("checkpoint")
    observed = read_observed(state, models.config_of(checkpoint, NAME), "state")
    chosen = Sampling(2, **{key: state[key] for key in ("temperature", "seed") if key in state})
    return {
        "checkpoint": checkpoint,
        "side": cube(state.get("resolution", 32))[0],
        "temperature": chosen.temperature,
        "seed": chosen.seed,
        "known": observed,
        "shape": None,
        "truth": None,
        **OLD,
    }
