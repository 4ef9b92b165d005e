"""What surrounds every action of the app: clear messages for wrong input, a time limit, a GPU where one is lent."""

import functools
import inspect
import logging
import time
from collections.abc import Callable

import gradio as gr

from demo.limits import MAX_SECONDS

try:  # on a Space with ZeroGPU a function gets a GPU for as long as it runs
    from spaces import GPU as on_gpu
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        """No GPU is lent here: the function as it is."""
        return function


log = logging.getLogger("pixeltransformer.demo")


def guarded(function: Callable) -> Callable:
    """The function, or generator, with errors as messages in the page (or the answer of the API) and a time limit.

    A `ValueError` is the visitor's mistake and is told as it is. Anything else is the app's: it is logged, and the
    visitor is told so without details.
    """

    def tell(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, ValueError):
            return gr.Error(str(error), print_exception=False, title="Please check")
        log.exception("%s failed", function.__name__)
        return gr.Error("Something went wrong here; it has been noted. Other requests still work.", title="Sorry")

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def run(*arguments, **named):
            start = time.monotonic()
            try:
                for item in function(*arguments, **named):
                    yield item
                    if time.monotonic() - start > MAX_SECONDS:
                        raise ValueError(
                            f"time: expected an answer within {MAX_SECONDS} seconds (the limit of a request), stopped; "
                            "ask for fewer samples, fewer steps or a lower resolution"
                        )
            except Exception as error:
                raise tell(error) from error

        return run

    @functools.wraps(function)
    def run_once(*arguments, **named):
        try:
            return function(*arguments, **named)
        except Exception as error:
            raise tell(error) from error

    return run_once
