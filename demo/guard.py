"""What surrounds every action of the app: clear messages for wrong input, a time limit, a GPU where one is lent."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

import gradio as gr
from gradio.context import LocalContext

from demo.limits import MAX_SECONDS
from demo.memory import give_back

try:  # on a Space with ZeroGPU a function gets a GPU for as long as it runs
    from spaces import GPU as on_gpu
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        """No GPU is lent here: the function as it is."""
        return function


log = logging.getLogger("pixeltransformer.demo")


class _Deadline:
    """When a request must be done; time that it only waits is added."""

    def __init__(self, end: float):
        self.end = end


_deadlines: ContextVar[tuple[_Deadline, ...]] = ContextVar("deadlines", default=())  # of the request, and of inner ones


def check_time() -> None:
    """To be called between the parts of any work that can take long.

    Raises:
        ValueError: where the request that is worked on has used up its `MAX_SECONDS`.
    """
    if any(monotonic() > each.end for each in _deadlines.get()):
        raise ValueError(
            f"time: expected an answer within {MAX_SECONDS} seconds (the limit of a request), stopped; "
            "ask for fewer samples, fewer steps or a lower resolution"
        )


def extend(seconds: float) -> None:
    """Time that the request which is worked on has waited for others does not count."""
    for each in _deadlines.get():
        each.end += seconds


@contextmanager
def _limited(deadline: _Deadline) -> Iterator[None]:
    """`check_time` raises from then on; a guarded function that another one calls has the time that is left to it."""
    before = _deadlines.set((*_deadlines.get(), deadline))
    try:
        yield
    finally:
        _deadlines.reset(before)


def mistake(message: str) -> gr.Error:
    """The error that ends a request of a visitor who made a mistake, after a notice in the page that waits for it.

    The page puts an error under “Sorry”, and a warning under “Please check” (`accessible.js`): after the warning it
    need not show the error too.
    """
    told = LocalContext.event_id.get(None) is not None
    if told:
        gr.Warning(message, title="Please check")
    return gr.Error(message, title="Please check", visible=not told, print_exception=False)


def guarded(function: Callable) -> Callable:
    """The function, or generator, with errors as messages in the page (or the answer of the API) and a time limit.

    A `ValueError` is the visitor's mistake and is told as it is. Anything else is the app's: it is logged, and the
    visitor is told so without details. Afterwards the memory that the request took is given back.
    """

    def tell(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, ValueError):
            return mistake(str(error))
        log.exception("%s failed", function.__name__)
        return gr.Error("Something went wrong here; it has been noted. Other requests still work.", title="Sorry")

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def run(*arguments, **named):
            end = _Deadline(monotonic() + MAX_SECONDS)
            try:
                items = function(*arguments, **named)
                while True:
                    with _limited(end):  # anew for each item, as each may be made in another thread
                        item = next(items, items)
                    if item is items:
                        break
                    yield item
                    with _limited(end):
                        check_time()
            except Exception as error:
                raise tell(error) from error
            finally:
                give_back()

        return run

    @functools.wraps(function)
    def run_once(*arguments, **named):
        try:
            with _limited(_Deadline(monotonic() + MAX_SECONDS)):
                return function(*arguments, **named)
        except Exception as error:
            raise tell(error) from error
        finally:
            give_back()

    return run_once
