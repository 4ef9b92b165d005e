"""Bad input to the command line, the model, the endpoint's handler and the app: is it refused in words that help?

Each case has a word that the message must hold, the name of what is wrong. A crash is any error that is not a refusal.
"""

import contextlib
import io
import math
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

import train_accelerate
from handler import EndpointHandler
from pixeltransformer.modeling_pixeltransformer import PixelTransformerConfig, PixelTransformerModel

NAN, INF = float("nan"), float("inf")


@dataclass
class Tally:
    """What became of the bad inputs to one part.

    Attributes:
        tried (`int`): Inputs.
        crashes, unclear, accepted (`list[str]`): Those that failed in another way than by a refusal, whose message
            lacked the name of what is wrong, and that were not refused.
    """

    tried: int = 0
    crashes: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)

    def note(self, case: str, message: str | None, word: str, crashed: bool = False) -> None:
        self.tried += 1
        if crashed:
            self.crashes.append(f"{case}: {message}")
        elif message is None:
            self.accepted.append(case)
        elif not re.search(word, message):
            self.unclear.append(f"{case}: {message}")


def command_lines() -> Iterator[tuple[list[str], str]]:
    """Flags that cannot work, each with the name that the message must hold."""
    base = ["--kind", "polynomial", "--output_dir", "{folder}", "--max_train_steps", "1", "--report_to", "none"]
    whole = (
        "hidden_size num_encoder_layers num_decoder_layers num_attention_heads intermediate_size num_bins num_scales"
    )
    whole += " max_context max_queries max_train_steps gradient_accumulation_steps validate_every validation_images"
    whole += " save_every max_checkpoints num_polynomials validation_size"
    for name in whole.split():
        for value in ("0", "-3", "x", "1.5", ""):
            yield [*base, f"--{name}", value], name
    for name in ["buffer_size", "num_workers", "degree"]:
        for value in ("-1", "x"):
            yield [*base, f"--{name}", value], name
    shares = "zero_probability block_probability long_buffer_probability continuous_probability warmup ema_decay"
    for name in f"{shares} chain_probability dab_probability".split():
        for value in ("-0.1", "1.1", "nan", "x"):
            yield [*base, f"--{name}", value], name
    for name in ["learning_rate", "adam_learning_rate", "max_grad_norm", "max_train_minutes", "weight_decay"]:
        for value in ("-1", "nan", "x"):
            yield [*base, f"--{name}", value], name
    for name in ["architecture", "bins", "optimizer", "decay", "mixed_precision", "report_to", "kind", "preset"]:
        yield [*base, f"--{name}", "nothing"], name
    for name, value in (("resume", "latest"), ("resume", "/nowhere"), ("init_from", "/nowhere"), ("token_budget", "3")):
        yield [*base, f"--{name}", value], name
    yield [*base, "--push_to_hub", "true"], "hub_model_id"
    yield [*base, "--no_such_flag", "1"], "no_such_flag"
    yield [*base, "--output_dir", "/proc/nowhere"], "output_dir"
    yield [*base, "--validation_contexts", "-1"], "validation_contexts"
    yield [*base, "--hidden_size", "10"], "hidden_size"
    images = ["--kind", "image", "--output_dir", "{folder}", "--max_train_steps", "1", "--report_to", "none"]
    for flags, word in (
        ([], "dataset_name"),
        (["--dataset_name", "/nowhere/at/all"], "dataset_name"),
        (["--dataset_name", "{folder}"], "dataset_name"),
        (["--dataset_name", "x", "--image_size", "0"], "image_size"),
        (["--dataset_name", "x", "--streaming", "true"], "validation_split"),
        (["--dataset_name", "x", "--shuffle_rows", "0"], "shuffle_rows"),
        (["--dataset_name", "x", "--channels", "blue"], "channels"),
    ):
        yield [*images, *flags], word


def try_command_lines() -> Tally:
    """Every bad command line, in this process."""
    tally, argv = Tally(), sys.argv
    with tempfile.TemporaryDirectory() as folder:
        for flags, word in command_lines():
            sys.argv = ["train_accelerate.py", *(flag.replace("{folder}", folder) for flag in flags)]
            out, case = io.StringIO(), " ".join(flags[8:])
            try:
                with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
                    train_accelerate.main()
                tally.note(case, None, word)
            except SystemExit as error:
                message = out.getvalue().splitlines()[-1] if isinstance(error.code, int) else str(error.code)
                tally.note(case, message if error.code else None, word)
            except BaseException as error:
                tally.note(case, f"{type(error).__name__}: {error}", word, crashed=True)
    sys.argv = argv
    return tally


def small_model() -> PixelTransformerModel:
    """A model of a few thousand weights."""
    sizes = dict(hidden_size=16, num_encoder_layers=1, num_decoder_layers=1, num_attention_heads=2, num_bins=3)
    return PixelTransformerModel(PixelTransformerConfig(native_grid=[6, 6], intermediate_size=16, **sizes)).eval()


def tensors() -> Iterator[tuple[str, object]]:
    """Arguments of the model that cannot be, by name."""
    for name, width, count in (("context_positions", 2, 3), ("context_values", 1, 3), ("query_positions", 2, 4)):
        shape = (1, count, width)
        for bad in (None, "x", 3, [[0.0]], torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)):
            yield name, bad
        for other in (
            (count, width),
            (1, count, width + 1),
            (1, 1, count, width),
            (0, count, width),
            (7, count, width),
        ):
            yield name, torch.zeros(other)
        for value in (NAN, INF, -INF, 5.0, -5.0):
            yield name, torch.full(shape, value)
    yield "query_positions", torch.zeros(1, 0, 2)
    yield "context_mask", torch.ones(1, 9, dtype=torch.bool)


def try_model() -> Tally:
    """Every bad argument, given to each way of asking."""
    tally, model = Tally(), small_model()
    good = {"context_positions": torch.zeros(1, 3, 2), "context_values": torch.zeros(1, 3, 1)}
    good |= {"query_positions": torch.zeros(1, 4, 2)}
    cases = [(method, name, bad) for method in ("predict", "sample", "log_prob", "__call__") for name, bad in tensors()]
    options = {
        "num_samples": (0, -1, 1.5, "x", NAN),
        "num_steps": (0, -1, 2.5, "x"),
        "temperature": (-1, NAN, INF, "x"),
    }
    options |= {"num_autoregressive": (-1, 99), "order": (torch.zeros(4).long(), torch.arange(9), "no such order")}
    cases += [("sample", name, bad) for name, values in options.items() for bad in values]
    for method, name, bad in cases:
        extra = {"query_values": torch.zeros(1, 4, 1)} if method == "log_prob" else {}
        case = f"{method}({name}={tuple(bad.shape) if isinstance(bad, torch.Tensor) else bad!r})"
        try:
            getattr(model, method)(**{**good, **extra, name: bad})
            tally.note(case, None, name)
        except (ValueError, TypeError) as error:
            # A batch that does not fit is as much the other argument's fault.
            tally.note(case, str(error), r"(context|query)_(positions|values|mask): expected|^" + name)
        except Exception as error:
            tally.note(case, f"{type(error).__name__}: {error}", name, crashed=True)
    return tally


SINGLE = (None, "x", -1, True, 0.5, NAN, INF, {}, {"a": 1}, [None], ["x"], [[]])
ROWS = ([None, 0.0], ["x", 0.0], [NAN, 0.0], [1e400, 0.0], [10**400, 0.0], [9.0, 9.0], [0.0] * 9, [[0.0, 0.0]])
SINGLE = (None, "x", -1, True, 0.5, NAN, INF, {}, {"a": 1}, [None], ["x"], [[]])
ROWS = ([None, 0.0], ["x", 0.0], [NAN, 0.0], [1e400, 0.0], [10**400, 0.0], [9.0, 9.0], [0.0] * 9, [[0.0, 0.0]])
NASTY = (*SINGLE, *([row, row] for row in ROWS), [[0.0, 0.0]] * 70_000)


def requests() -> Iterator[tuple[object, str]]:
    """Requests to the endpoint that are wrong in one place, and the name of the place."""
    good = {"positions": [[0.0, 0.0], [0.5, 0.5]], "values": [[0.0], [1.0]]}
    for bad in (None, 3, "x", [], {}, {"input": good}):
        yield bad, "request"
    for key in ("positions", "values", "queries", "grid"):
        for bad in NASTY:
            yield {"inputs": {**good, key: bad}}, f"inputs.{key}"
    for bad in (None, 3, "x", [], [3], [None], [good] * 1000, {"place": 1}):
        yield {"inputs": bad}, "inputs"
    for name in ("num_samples", "num_steps", "temperature", "seed", "task"):
        for bad in ("x", -1, True, NAN, INF, [1], {}, 10**30):
            yield {"inputs": good, "parameters": {name: bad}}, f"parameters.{name}"
    yield {"inputs": good, "parameters": {"n": 1}}, "parameters"
    yield {"inputs": good, "parameters": []}, "parameters"


def try_handler() -> Tally:
    """Every bad request."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        small_model().save_pretrained(folder)
        handler = EndpointHandler(str(Path(folder)))
        for request, word in requests():
            case = repr(request)[:120]
            try:
                handler(request)
                tally.note(case, None, word)
            except ValueError as error:
                tally.note(case, str(error), re.escape(word))
            except Exception as error:
                tally.note(case, f"{type(error).__name__}: {error}", word, crashed=True)
    return tally


APP_NASTY = ("x", -1, 10**12, [], {"a": [1]}, "[[NaN]]", '{"positions": [[9, 9]], "values": [[0]]}', "../../etc/passwd")


def try_app(most: int = 200) -> Tally:
    """Every named action of the app with one argument spoilt; the words are checked for those of a clear error.

    Many arguments bear any value (a text, a number that is clamped), so that an answer is no fault here.
    """
    from gradio_client import Client

    import app

    tally = Tally()
    blocks = app.build()
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    try:
        client = Client(url, verbose=False)
        actions = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        cases = [
            (name, parameter["parameter_name"], bad)
            for name, action in actions.items()
            for parameter in action["parameters"]
            for bad in APP_NASTY
        ]
        for name, parameter, bad in cases[:: max(1, math.ceil(len(cases) / most))]:
            given = {p["parameter_name"]: p["parameter_default"] for p in actions[name]["parameters"]}
            case = f"{name}({parameter}={bad!r})"
            try:
                client.predict(api_name=name, **{**given, parameter: bad})
                tally.tried += 1
            except Exception as error:
                hidden = "has not enabled verbose error reporting" in str(error)
                tally.note(case, f"{type(error).__name__}: {error}"[:300], r"expected|[Vv]alue|choices", crashed=hidden)
    finally:
        blocks.close()
    return tally


def try_all(app: bool) -> dict[str, Tally]:
    """Bad inputs to every part, by its name."""
    warnings.filterwarnings("ignore")
    tallies = {"command line": try_command_lines(), "model": try_model(), "endpoint": try_handler()}
    return tallies | ({"app": try_app()} if app else {})
