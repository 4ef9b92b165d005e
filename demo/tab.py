"""What every tab is made of: named components, handlers that return updates by name, and how they are wired."""

import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from demo.guard import guarded
from demo.limits import LIVE, SLOW
from demo.turns import before_drawings

log = logging.getLogger("pixeltransformer.demo")

Updates = dict[str, Any]  # new values, or `gr.update`s, of components by name
# Of an event only the latest counts; short answers never wait behind samples.
QUICK = dict(trigger_mode="always_last", api_visibility="private", **LIVE)
DRAWING = dict(trigger_mode="always_last", api_visibility="private", **SLOW)
# Every event is answered, in order. Of two quick ones "always_last" may lose the second: Gradio forgets it where the
# first is refused; and where the first one's answer sets the control itself, the second finds that value there.
EACH = dict(trigger_mode="multiple")


@dataclass
class Page:
    """The components of a tab by name.

    A handler is a function `handler(visit)` or `handler(visit, picked)` that returns `Updates`, or a generator of them.
    `visit` is `visit_of` of the values of the components in `asked`, by name, of "session", which is the same for all
    events of a page, and of "edition", how many changes the visitor had made (`outdate` counts them); `picked` is what
    the event carries.

    Attributes:
        visit_of (`Callable`): Makes the object that a handler gets, once for each event.
        parts (`dict`): All components by name.
        asked (`list[str]`): Names of those whose values handlers read.
    """

    visit_of: Callable[[dict[str, Any]], Any]
    parts: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    edition: Any = field(default_factory=lambda: gr.Textbox(visible="hidden"))  # filled by the script of each event

    def __getitem__(self, name: str) -> Any:
        return self.parts[name]

    def add(self, asked: bool = True, **parts: Any) -> None:
        """Name components; `asked`: handlers read their values."""
        self.parts.update(parts)
        self.asked += list(parts) if asked else []

    def inputs(self) -> list[Any]:
        """The components whose values handlers read: the number of changes first."""
        return [self.edition, *(self.parts[name] for name in self.asked)]

    def bind(self, handler: Callable) -> Callable:
        """A handler as Gradio calls it: with the values of `inputs()`, returning updates by component."""

        def visit(values, request: gr.Request | None) -> Any:
            edition, *values = values
            more = {"session": getattr(request, "session_hash", None) or "", "edition": int(edition or 0)}
            return self.visit_of(dict(zip(self.asked, values, strict=True), **more))

        def named(updates: Updates) -> dict:
            return {self.parts[name]: value for name, value in updates.items()}

        if inspect.isgeneratorfunction(inspect.unwrap(handler)):

            def run(request: gr.Request, *values):
                for updates in handler(visit(values, request)):
                    yield named(updates)

        elif "picked" in inspect.signature(handler).parameters:

            def run(request: gr.Request, event: gr.EventData, *values):
                return named(handler(visit(values, request), dict(event._data or {})))

        else:

            def run(request: gr.Request, *values):
                return named(handler(visit(values, request)))

        run.__name__ = handler.__name__
        return guarded(run)

    def on(self, event: Callable, handler: Callable, outputs: Iterable[str], **options: Any) -> Any:
        """Call a handler at an event of a component, or after another one (`event.then`)."""
        chosen = [self.parts[name] for name in outputs]
        options = {"show_progress": "hidden", "js": EDITION, **QUICK, **options}
        if "picked" in inspect.signature(handler).parameters:
            options["trigger_mode"] = "multiple"  # a call that waited would get what an earlier event carried
        bound = self.bind(handler)
        if options["concurrency_id"] == LIVE["concurrency_id"] and not inspect.isgeneratorfunction(bound):
            bound = before_drawings(bound)
        return event(bound, self.inputs(), chosen, **options)

    def on_upload(self, name: str, handler: Callable, outputs: Iterable[str], **options: Any) -> Any:
        """Call a handler when a file is uploaded; one that cannot be used is taken out of its field again."""
        opened = self.on(self.parts[name].upload, handler, outputs, **options)
        opened.failure(None, None, self.parts[name], js="() => null", api_visibility="private")
        return opened

    def by_component(self, handler: Callable) -> Callable:
        """A function that returns updates by name, as one that returns them by component."""

        def run(*arguments):
            return {self.parts[name]: value for name, value in handler(*arguments).items()}

        return run


def at_start(make: Callable[[], Any]) -> Any:
    """What is made before there are visitors; `None` where that fails, as without the GPU that a visitor is lent."""
    try:
        return make()
    except Exception:
        log.warning("%s has to wait for the first visitor", make, exc_info=True)
        return None


# Tells a handler how many changes its inputs hold.
EDITION = "(edition, ...values) => [String(window.ptEdition || 0), ...values]"


def outdate(selector: str) -> str:
    """A script, `js=` of the event that will renew them, that dims these parts of the page until they are new, and
    counts a change: what answers an earlier one leaves them dimmed.

    As an event of its own it might, in a busy browser, come after the answer, and what is new would stay dimmed.
    """
    parts = f"document.querySelectorAll({selector!r})"
    count = "window.ptEdition = (window.ptEdition || 0) + 1"
    dim = f"for (const part of {parts}) part.dataset.stale = window.ptEdition"
    return f"(edition, ...values) => {{ {count}; {dim}; return [String(window.ptEdition), ...values]; }}"


def outdate_at_once(selector: str, events: Iterable[Callable]) -> None:
    """Dim these parts, and count a change, as soon as one of these events happens: the script of an event that waits
    runs only after the answer to the earlier one, which would pass for new until then.

    Call it before the events get their handlers: Gradio starts the next call of an event when one is answered.
    """
    for event in events:
        event(None, None, None, js=outdate(selector), api_visibility="private")


def renew(selector: str) -> str:
    """A script that takes the dimming away, for parts that do not do so themselves; it is given the change that they
    answer, and leaves them dimmed where there was another one since."""
    parts = f"document.querySelectorAll({selector!r})"
    answers = "if (Number(answered) >= part.dataset.stale) delete part.dataset.stale"
    return f"(answered) => {{ for (const part of {parts}) {answers}; }}"


@dataclass(frozen=True)
class Tab:
    """A tab that is laid out.

    Attributes:
        name (`str`): Its id.
        restored (`list`): Components that a shared state sets.
        restore (`Callable` or `None`): From a state's JSON text to their updates; `None`: there is nothing to restore.
        opening (`Callable` or `None`): Follows an event (`event.then`, …) with all that a restored state shows.
        waits (`bool`): Nothing could be drawn at start: it is when the page opens.
        recover (`Callable` or `None`): From what the browser saved (a dictionary) to updates of the same components;
            raises `ValueError` where that is nothing to come back to.
        recovers_alone (`bool`): What it brings back is drawn when the tab is chosen, not when the page opens.
        chosen (`Callable` or `None`): Follows an event with what is shown when the tab is chosen.
    """

    name: str
    restored: list[Any]
    restore: Callable | None = None
    opening: Callable | None = None
    waits: bool = False
    chosen: Callable | None = None
    recover: Callable | None = None
    recovers_alone: bool = False
