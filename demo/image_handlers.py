"""What happens at each event of the image tab: functions from what a visitor sees to updates by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from time import sleep
from typing import Any

import gradio as gr
import torch
from PIL import Image

from demo import examples, latest, models, share
from demo.answers import ORDERS, SPEEDS, Sampling
from demo.density import density_svg
from demo.drawings import Drawing, Request, drawing, marginal_tiles, remembered
from demo.files import keep
from demo.grids import observe_cells, split
from demo.guard import on_gpu
from demo.image_actions import ask, best_next, output_grid, refit, reveal
from demo.limits import MAX_RESOLUTION
from demo.observed import Observed, nothing, read_observed
from demo.pictures import read_picture
from demo.tab import Updates
from demo.widgets import fresh, wanted
from demo.widgets.pad import pad_value, read_pad, to_hex
from demo.widgets.result import result
from pixeltransformer.grids import centres

NAME = "image"
CATS = "cat-faces"  # the checkpoint whose pad shows the outline of a face
MAX_UPLOADS = 4  # pictures of a visitor that undo can come back to
ASK = "<p class='pt-empty'>Click a pixel of any picture: the distribution of its value shows here.</p>"


@dataclass(frozen=True)
class Visit:
    """What one visitor sees when an event comes: values of the tab's controls by name, resolved when first needed."""

    values: dict[str, Any]

    @property
    def checkpoint(self) -> str:
        return self.values["checkpoint"]

    @property
    def session(self) -> str:
        """The same for all events of a page; empty outside of one."""
        return self.values.get("session", "")

    @property
    def edition(self) -> int:
        """How many changes the visitor had made."""
        return self.values.get("edition", 0)

    @cached_property
    def config(self):
        return models.config_of(self.checkpoint, NAME)

    @cached_property
    def observed(self) -> Observed:
        pad = self.values["pad"]
        return nothing(self.config) if pad is None else read_pad(pad, self.config.value_dim)

    @property
    def resolution(self) -> int:
        return self.values["resolution"]

    @cached_property
    def sampling(self) -> Sampling:
        values = self.values
        order = order_for(self.config, values["order"])
        steps, seed = SPEEDS[values["speed"]], values["seed"] or 0
        return Sampling(values["number"], steps, values["temperature"], seed, order)

    @property
    def request(self) -> Request:
        return Request(self.checkpoint, self.observed, self.resolution, self.sampling)

    @property
    def source(self) -> str:
        """Where the picture behind the pad is from: "example 3", "upload 1", or nowhere."""
        return str((self.values["pad"] or {}).get("source") or "")

    @cached_property
    def picture(self) -> Image.Image | None:
        kind, _, number = self.source.partition(" ")
        if kind == "example" and number.isdigit() and int(number) < len(examples.images()):
            return examples.images()[int(number)].picture
        return self.values["uploads"].get(self.source)


def order_for(config, wanted: str = ORDERS[0]) -> str:
    """The order that a checkpoint draws in: from coarse to fine only where it knows averages."""
    return wanted if config.num_scales > 1 or wanted != "coarse-to-fine" else ORDERS[0]


def orders_of(config) -> list[tuple[str, str]]:
    """Labels and names of the orders that a checkpoint can draw in."""
    return [(name.replace("-", " "), name) for name in ORDERS if order_for(config, name) == name]


def pad_update(observed: Observed, checkpoint: str, source: str, picture: Image.Image | None) -> Updates:
    """An update of the pad to an observed set on a checkpoint's grid, with a picture behind it."""
    config = models.config_of(checkpoint, NAME)
    value = pad_value(observed, config.native_grid) | {"checkpoint": checkpoint, "source": source}
    return gr.update(value=value, **pad_properties(checkpoint, picture))


def pad_properties(checkpoint: str, picture: Image.Image | None) -> dict[str, Any]:
    """What of the pad depends on the checkpoint and on the picture behind it."""
    config, ghost = models.config_of(checkpoint, NAME), checkpoint == CATS and picture is None
    hidden = (
        "" if picture is None else to_hex(read_picture(picture, config.native_grid, config.value_dim).flatten(0, 1))
    )
    largest = 2 ** (config.num_scales - 1)
    return {"channels": config.value_dim, "largest": largest, "picture": hidden, "mark": -1, "ghost": ghost}


def settings_for(checkpoint: str, picture: Image.Image | None) -> Updates:
    """Updates of the controls whose range depends on the checkpoint, or that need a picture; what was unusual in
    another picture, or to another model, is taken away."""
    config = models.config_of(checkpoint, NAME)
    return {
        "checkpoint": checkpoint,
        "resolution": max(config.native_grid),
        "count": gr.update(high=config.native_grid[0] * config.native_grid[1]),
        "order": gr.update(choices=orders_of(config), value=ORDERS[0]),
        "uncover": gr.update(visible=picture is not None),
        "unusual": fresh([]),
    }


def shown(finished: Drawing) -> Updates:
    """Updates to samples, perhaps unfinished ones, and to the files of finished ones."""
    updates: Updates = {"samples": fresh(finished.samples, mark=None)}
    if finished.files is not None:
        for name, file, data in zip(("still", "moving"), FILES, finished.files, strict=True):
            updates[name] = gr.update(value=keep(data, file), interactive=True)
        updates["levels"] = fresh(finished.levels)
    return updates


FILES = "samples.png", "drawing.gif"
LIVE_PARTS = ["marginals", "density", "pad", "samples"]
DRAWN_PARTS = ["samples", "levels", "still", "moving"]
SETTINGS = ["checkpoint", "resolution", "count", "order", "uncover", "unusual"]


def note(visit: Visit) -> Updates:
    """The visitor wants samples as the controls say now: other ones stop."""
    latest.ask(visit.session, NAME, visit.request.key)
    return {"samples": wanted(visit.request.name, visit.edition)}


@on_gpu
def live(visit: Visit) -> Updates:
    """Marginals; what was asked about one pixel is out of date, and so are samples that are still drawn."""
    samples = note(visit)["samples"]
    tiles = marginal_tiles(visit.checkpoint, visit.observed, visit.resolution, visit.picture)
    known = remembered(visit.request)
    unmarked = gr.update(mark=None) if known is None else shown(known)["samples"]
    return {
        "marginals": fresh(tiles, mark=None, edition=visit.edition),
        "density": ASK,
        "pad": gr.update(mark=-1),
        "samples": samples | unmarked,
    }


@on_gpu
def run(visit: Visit) -> Iterator[Updates]:
    """Samples while they are drawn, until the visitor asks for others."""
    request = visit.request
    for each in drawing(request, partial(latest.is_wanted, visit.session, NAME, request.key)):
        yield shown(each)


def run_if_wanted(visit: Visit) -> Iterator[Updates]:
    """Samples, where the visitor wants them at every change, has paused, and something is left to draw."""
    if visit.session and remembered(visit.request) is None:
        sleep(latest.PAUSE)
    if not visit.values["auto"] or not latest.is_wanted(visit.session, NAME, visit.request.key):
        yield {"samples": gr.skip()}
    elif not len(split(visit.observed, visit.request.grid).hidden):
        yield {"samples": fresh(result([], 0, 1.0, visit.request.name)), "levels": fresh([])}
    else:
        yield from run(visit)


@on_gpu
def tell(visit: Visit, picked: dict) -> Updates:
    """The distribution of the pixel that was clicked."""
    x, y = picked["x"], picked["y"]
    width, height = visit.config.native_grid
    column, row = (int((at + 1) / 2 * side) for at, side in ((x, width), (y, height)))
    drawn = density_svg(ask(visit.checkpoint, visit.observed, [x, y]), f"Column {column + 1}, row {row + 1}")
    return {"density": drawn, "marginals": gr.update(mark=[x, y]), "samples": gr.update(mark=[x, y])}


@on_gpu
def suggest(visit: Visit) -> Updates:
    """The pixel whose value is most uncertain."""
    cell, _ = best_next(visit.checkpoint, visit.observed)
    width, height = visit.config.native_grid
    column, row = cell % width, cell // width
    at = [centres(column, width), centres(row, height)]
    drawn = density_svg(
        ask(visit.checkpoint, visit.observed, at), f"Most uncertain: column {column + 1}, row {row + 1}"
    )
    return {
        "pad": gr.update(mark=cell),
        "density": drawn,
        "marginals": gr.update(mark=at),
        "samples": gr.update(mark=at),
    }


@on_gpu
def reveal_best(visit: Visit) -> Updates:
    """The most uncertain pixel uncovered from the picture behind the pad."""
    if visit.picture is None:
        raise ValueError("picture: expected one to reveal a pixel of, got none; upload one or click an example")
    cell, _ = best_next(visit.checkpoint, visit.observed)
    values = read_picture(visit.picture, visit.config.native_grid, visit.config.value_dim)
    observed = visit.observed + observe_cells(values, torch.tensor([cell]))
    return {"pad": pad_update(observed, visit.checkpoint, visit.source, visit.picture)}


def keep_small(path: str) -> Image.Image:
    """An uploaded picture, checked, cropped to a square, shrunk where it is larger than any answer, never enlarged."""
    values = read_picture(path, [MAX_RESOLUTION, MAX_RESOLUTION], 3, enlarged=False)
    return Image.fromarray((values * 255).round().byte().numpy())


def open_picture(visit: Visit) -> Updates:
    """An upload behind the pad, some of it revealed."""
    path = visit.values["upload"]
    if path is None:
        return {"pad": gr.skip()}
    before = visit.values["uploads"]
    last = max((int(source.split()[1]) for source in before), default=0)
    source, picture = f"upload {last + 1}", keep_small(path)
    uploads = dict(list(before.items())[1 - MAX_UPLOADS :]) | {source: picture}
    shown = show_revealed(visit, source, picture)
    return {"uploads": uploads, "upload": None, "uncover": gr.update(visible=True), "unusual": fresh([]), **shown}


def show_revealed(visit: Visit, source: str, picture: Image.Image) -> Updates:
    observed = reveal(
        visit.checkpoint, picture, visit.values["count"], visit.values["pattern"], visit.values["shuffle"] or 0
    )
    return {"pad": pad_update(observed, visit.checkpoint, source, picture)}


def reveal_again(visit: Visit) -> Updates:
    """Other pixels of the same picture."""
    return {"pad": gr.skip()} if visit.picture is None else show_revealed(visit, visit.source, visit.picture)


def change_model(visit: Visit) -> Updates:
    """The same paint for the model that was chosen."""
    pad = visit.values["pad"]
    moved = refit(read_pad(pad | {"paper": []}, 3), visit.checkpoint, pad["grid"])
    update = pad_update(moved, visit.checkpoint, visit.source, visit.picture)
    return {**settings_for(visit.checkpoint, visit.picture), "pad": update}


def recall(visit: Visit) -> Updates:
    """Undo or redo came to another model, or another picture: the controls follow the pad."""
    checkpoint = visit.values["pad"].get("checkpoint")
    properties = pad_properties(checkpoint, visit.picture)
    return {**settings_for(checkpoint, visit.picture), "pad": gr.update(**properties)}


def open_example(visit: Visit, picked: dict) -> Updates:
    """An example on the pad, with its model."""
    number = next((n for n, each in enumerate(examples.images()) if each.name == picked.get("tile")), 0)
    example = examples.images()[number]
    updates = settings_for(example.checkpoint, example.picture)
    if example.picture is not None:
        native = models.config_of(example.checkpoint, NAME).native_grid
        updates |= {
            "pattern": example.pattern,
            "count": gr.update(value=example.count or 64, high=native[0] * native[1]),
        }
    return {**updates, "pad": pad_update(observed_in(number), example.checkpoint, f"example {number}", example.picture)}


def observed_in(number: int) -> Observed:
    """What an example starts with."""
    example = examples.images()[number]
    if example.picture is None:
        return read_observed(example.observed, models.config_of(example.checkpoint, NAME))
    return reveal(example.checkpoint, example.picture, example.count, example.pattern, 0)


def state_of(visit: Visit) -> str:
    """The tab's state as JSON text."""
    values = visit.values
    sampling = {"samples": values["number"], **{key: values[key] for key in ("speed", "temperature", "seed", "order")}}
    state = {"checkpoint": visit.checkpoint, "resolution": visit.resolution, **sampling, **visit.observed.to_json()}
    return share.to_text(NAME, state)


SAVED = [
    *("checkpoint", "pad", "resolution", "number", "speed", "order", "temperature", "seed"),
    *("pattern", "count", "shuffle"),
]


def recover(saved: dict[str, Any]) -> Updates:
    """Updates to what the browser saved: `SAVED` by name.

    Raises:
        ValueError: where nothing was painted, or it does not fit a checkpoint that is on offer.
    """
    visit = Visit(saved | {"uploads": {}})
    if not len(visit.observed):
        raise ValueError("saved: expected something painted, got an empty pad")
    visit.request.key, visit.sampling  # noqa: B018  these raise where a setting does not fit
    if list(visit.values["pad"]["grid"]) != list(visit.config.native_grid):
        raise ValueError("saved: expected a pad of the checkpoint's size, got another")
    pad = visit.values["pad"] | ({} if visit.picture else {"source": ""})
    return {
        **{name: saved[name] for name in SAVED if name not in ("order", "count", "pad")},
        **settings_for(visit.checkpoint, visit.picture),
        "resolution": saved["resolution"],
        "order": gr.update(choices=orders_of(visit.config), value=order_for(visit.config, saved["order"])),
        "count": gr.update(value=int(saved["count"]), high=visit.config.native_grid[0] * visit.config.native_grid[1]),
        "pad": gr.update(value=pad, **pad_properties(visit.checkpoint, visit.picture)),
    }


def restore(text: str) -> Updates:
    """Updates to a state's JSON."""
    state = share.from_text(text, NAME)
    checkpoint = state.get("checkpoint")
    config = models.config_of(checkpoint, NAME)
    observed = refit(read_observed(state, config, "state"), checkpoint)
    side = max(output_grid(checkpoint, state.get("resolution")))
    kept = ("samples", "temperature", "seed", "order")
    chosen = Sampling(**{key: state[key] for key in kept if key in state})
    speed = state.get("speed", "exact")
    if not isinstance(speed, str) or speed not in SPEEDS:
        raise ValueError(f"state.speed: expected one of {', '.join(SPEEDS)}, got {str(speed)[:40]!r}")
    return {
        **settings_for(checkpoint, None),
        "pad": pad_update(observed, checkpoint, "", None),
        "resolution": side,
        "number": chosen.samples,
        "speed": speed,
        "temperature": chosen.temperature,
        "seed": chosen.seed,
        "order": gr.update(choices=orders_of(config), value=order_for(config, chosen.order)),
    }
