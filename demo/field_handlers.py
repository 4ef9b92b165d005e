"""What happens at each event of the field tab: functions from what a visitor sees to updates by name."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gradio as gr

from demo import latest, share
from demo.field_actions import PATTERNS, Answer, Task, ask_all, example, known_by, picture
from demo.field_models import ABOUT, offered
from demo.guard import on_gpu
from demo.limits import MAX_SEED, whole
from demo.progress import progress_line
from demo.tab import Updates
from demo.turns import Waiting, in_turn
from demo.widgets import fresh, wanted
from demo.widgets.answers import card

NAME = "field"
DIGITS = (0, 2, 3, 7, 8)
REMEMBERED = 16  # digits whose answers are kept: the opening, and what one comes back to
_answered: OrderedDict[tuple, list[Answer]] = OrderedDict()
_asking: set[tuple] = set()  # visitors and what is being answered to them: opening a tab may ask twice


def opening() -> dict[str, str]:
    """The digit before any touch."""
    return Task(example(3), known_by(PATTERNS[0], 0)).texts()


@dataclass(frozen=True)
class Visit:
    """What one visitor sees when an event comes: values of the tab's controls by name, resolved when first needed."""

    values: dict[str, Any]

    @cached_property
    def task(self) -> Task:
        return Task.read(self.values["ink"], self.values["known"])

    @property
    def seed(self) -> int:
        return whole("seed", self.values["seed"] or 0, 0, MAX_SEED)

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
        """What the answers depend on."""
        return self.values["ink"], self.values["known"], self.seed

    @property
    def name(self) -> int:
        """The same for the page."""
        return latest.name_of(self.key)


def _drawing(task: Task) -> Updates:
    texts = task.texts()
    return {**texts, "board": fresh(texts)}


def open_digit(number: int):
    """The handler of a digit's button: the same pixels stay hidden."""

    def handler(visit: Visit) -> Updates:
        return _drawing(Task(example(number), visit.task.known))

    handler.__name__ = f"digit_{number}"
    return handler


def hide(visit: Visit) -> Updates:
    """Hide what the chosen pattern hides."""
    return _drawing(Task(visit.task.ink, known_by(visit.values["pattern"], visit.seed)))


def edit(visit: Visit, picked: dict) -> Updates:
    """The digit as the visitor changed it: what is hidden is no pattern any more."""
    return {**Task.read(picked.get("ink"), picked.get("known")).texts(), "pattern": None}


def note(visit: Visit) -> Updates:
    """What is asked for now: answers about anything older stop."""
    latest.ask(visit.session, NAME, visit.key)
    return {"state": "", "answers": wanted(visit.name, visit.edition)}


@on_gpu
def run(visit: Visit) -> Iterator[Updates]:
    """The answers of all models, one after another, when their turn has come and the visitor still wants them."""
    latest.ask(visit.session, NAME, visit.key)
    if visit.key in _answered:
        _answered.move_to_end(visit.key)
        yield {"answers": _shown(visit, _answered[visit.key]), "state": ""}
    elif (visit.session, visit.key) in _asking:
        yield {"state": gr.skip()}
    else:
        _asking.add((visit.session, visit.key))
        try:
            yield from _ask(visit)
        finally:
            _asking.discard((visit.session, visit.key))


def _ask(visit: Visit) -> Iterator[Updates]:
    key, answers, count = visit.key, [], len(offered())
    for found in in_turn(ask_all(visit.task, visit.seed), small=False):
        if not latest.is_wanted(visit.session, NAME, key):
            yield {"state": gr.skip()}
            return
        if isinstance(found, Waiting):
            yield {"state": progress_line(found), "answers": gr.skip()}
            continue
        answers.append(found)
        state = f"<p class='pt-working'>{len(answers)} of {count} models have answered</p>"
        yield {"answers": _shown(visit, answers), "state": state if len(answers) < count else ""}
    if any(answer.late for answer in answers):
        return
    _answered[key] = answers
    while len(_answered) > REMEMBERED:
        _answered.popitem(last=False)


def _shown(visit: Visit, answers: list[Answer]) -> Updates:
    return fresh(cards(visit.task, answers), task=visit.name)


def cards(task: Task, answers: list[Answer]) -> list[dict]:
    """The page's cards: models that answered by their likelihood, then those that cannot."""
    bits = [answer.bits for answer in answers if answer.bits is not None]
    best = min(bits, default=math.inf)
    can = [each for each in answers if each.sample is not None]
    can.sort(key=lambda each: math.inf if each.bits is None else each.bits)
    return [_card(task, each, best) for each in can + [each for each in answers if each.sample is None]]


def _card(task: Task, answer: Answer, best: float) -> dict:
    about = ABOUT[answer.model]
    if answer.sample is None:
        return card(about.name, about.paper, answer.refusal or "", [], None, False)
    samples = f"{answer.samples} sample{'s' * (answer.samples > 1)}"
    estimated = f" estimated from {samples}" if answer.estimated else ""
    said = f"{_bits(answer)} · {samples} in {answer.seconds:.2f} s" + (
        estimated and f" · probability of ink{estimated}"
    )
    pictures = [
        (picture(task, answer.sample.float()), f"One of {about.name}'s samples"),
        (picture(task, answer.probabilities), f"{about.name}'s probability of ink{estimated}"),
    ]
    return card(about.name, about.paper, said, pictures, answer.probabilities, answer.bits == best)


def _bits(answer: Answer) -> str:
    if answer.levels > 2:
        return f"{answer.levels} grey levels: bits do not compare"
    return "no likelihood" if answer.bits is None else f"{answer.bits:z,.1f} bits"  # z: no "-0.0"


SAVED = ["ink", "known", "pattern", "seed"]


def state_of(visit: Visit) -> str:
    """The tab's state as JSON text."""
    return share.to_text(NAME, {**visit.task.texts(), "pattern": visit.values["pattern"], "seed": visit.seed})


def restore(text: str) -> Updates:
    """Updates to a state's JSON."""
    return recover(share.from_text(text, NAME))


def recover(saved: dict[str, Any]) -> Updates:
    """Updates to what the browser saved, or to a shared state. Raises `ValueError` where it does not fit."""
    task = Task.read(saved.get("ink"), saved.get("known"))
    pattern = saved.get("pattern")
    if pattern is not None and pattern not in PATTERNS:
        raise ValueError(f"pattern: expected one of {', '.join(PATTERNS)}, got {str(pattern)[:60]!r}")
    return {**_drawing(task), "pattern": pattern, "seed": whole("seed", saved.get("seed", 0), 0, MAX_SEED)}
