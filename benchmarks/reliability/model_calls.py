"""Bad and odd arguments of the model: tensors, options and numbers of every kind, in evaluation and in training."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.reliability.tally import Tally
from pixeltransformer.modeling_pixeltransformer import PixelTransformerConfig, PixelTransformerModel

NAN, INF = float("nan"), float("inf")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def small_model(**fields) -> PixelTransformerModel:
    """A model of a few thousand weights."""
    sizes = dict(hidden_size=16, num_encoder_layers=1, num_decoder_layers=1, num_attention_heads=2, num_bins=3)
    sizes |= dict(native_grid=[6, 6], intermediate_size=16)
    torch.manual_seed(0)
    return PixelTransformerModel(PixelTransformerConfig(**sizes | fields)).eval()


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


OPTIONS = {
    "num_samples": (0, -1, 1.5, "x", NAN, True, None),
    "num_steps": (0, -1, 2.5, "x", True),
    "temperature": (-1, NAN, INF, "x", None),
    "num_autoregressive": (-1, 99, 0.5),
    "order": (torch.zeros(4).long(), torch.arange(9), "no such order", "coarse-to-fine", 3),
    "method": ("fast", 3),
    "finish": ("mean", "half"),
}


def good_arguments() -> dict[str, torch.Tensor]:
    """Three observed values and four queries."""
    rows = torch.linspace(-0.9, 0.9, 6).view(1, 3, 2)
    values = torch.linspace(0, 1, 3).view(1, 3, 1)
    return {"context_positions": rows, "context_values": values, "query_positions": torch.zeros(1, 4, 2)}


def try_model() -> Tally:
    """Every bad argument, given to each way of asking, and to training."""
    tally, model, good = Tally(), small_model(), good_arguments()
    values = {"query_values": torch.zeros(1, 4, 1)}
    cases = [(method, name, bad) for method in ("predict", "sample", "log_prob", "__call__") for name, bad in tensors()]
    cases += [("train", name, bad) for name, bad in tensors()]
    cases += [("sample", name, bad) for name, bads in OPTIONS.items() for bad in bads]
    for method, name, bad in cases:
        model.train(method == "train")
        call = model if method == "train" else getattr(model, method)
        extra = values if method in ("log_prob", "train") else {}
        case = f"{method}({name}={tuple(bad.shape) if isinstance(bad, torch.Tensor) else bad!r})"
        # A batch that does not fit is as much the other argument's fault.
        word = r"(context|query)_(positions|values|mask): expected|^" + name
        tally.refuse(case, lambda call=call, all_=good | extra | {name: bad}: call(**all_), word)
    _try_units(tally, model.eval())
    _try_odd(tally, model)
    return tally


def _try_units(tally: Tally, model: PixelTransformerModel) -> None:
    """Values from 0 to 255 and positions in pixels, in each dtype, given to each call and to training."""
    good = good_arguments()
    units = {
        "context_values": 255 * good["context_values"],
        "query_values": torch.full((1, 4, 1), 128.0),
        "context_positions": (good["context_positions"] + 1) * 14,
        "query_positions": torch.full((1, 4, 2), 27.0),
    }
    for dtype in DTYPES:
        for name, bad in units.items():
            for method in ("predict", "sample", "log_prob", "__call__", "train"):
                takes_values = method in ("log_prob", "__call__", "train")
                if name == "query_values" and not takes_values:
                    continue
                extra = {"query_values": torch.zeros(1, 4, 1)} if takes_values else {}
                given = {key: value.to(dtype) for key, value in (good | extra | {name: bad}).items()}
                model.train(method == "train")
                call = model if method == "train" else getattr(model, method)
                case = f"{method}({name} up to {bad.max():g}, {dtype})"
                word = f"^{name}: expected.* to {int(bad.max())}"  # followed by the dtype's own digits
                tally.refuse(case, lambda call=call, given=given: call(**given), word)
    model.eval()


def _try_odd(tally: Tally, model: PixelTransformerModel) -> None:
    """Input of other dtypes, layouts and batches answers as the plain one does."""
    good = good_arguments()
    plain = model.predict(**good).mean

    def same(batch: slice = slice(None), atol: float = 1e-5, **given) -> bool:
        return torch.allclose(model.predict(**good | given).mean[batch], plain, atol=atol)

    for dtype in DTYPES:
        given = {name: value.to(dtype) for name, value in good.items()}
        tally.answer(f"input of {dtype}", lambda given=given: same(atol=0.03, **given))
    strided = torch.stack((good["context_positions"], torch.zeros(1, 3, 2)), -1)[..., 0]
    tally.answer("positions that are not contiguous", lambda: same(context_positions=strided))
    for beyond in (1.0000001, 1.00005):
        end = {"context_positions": good["context_positions"].sign()}
        at_end = model.predict(**good | end).mean
        given = good | {"context_positions": beyond * end["context_positions"]}
        tally.answer(f"positions at {beyond}", lambda given=given, at_end=at_end: torch.allclose(
            model.predict(**given).mean, at_end, atol=1e-3
        ))  # fmt: skip
    for padding in (0.0, 1.0):
        padded = {
            name: torch.cat((good[name], torch.full((1, 5, width), padding)), 1)
            for name, width in (("context_positions", 2), ("context_values", 1))
        }
        mask = torch.arange(8)[None] < 3
        for dtype in (torch.bool, torch.uint8, torch.int64):
            given = padded | {"context_mask": mask.to(dtype)}
            tally.answer(f"padding of {padding}, mask of {dtype}", lambda given=given: same(**given))
    for size in (2, 5):
        many = {name: torch.cat((value, value.flip(1).expand(size - 1, -1, -1))) for name, value in good.items()}
        tally.answer(f"a batch of {size}", lambda many=many: same(slice(0, 1), **many))
    for count in (np.int64(2), np.uint8(2)):
        tally.answer(
            f"num_samples={count!r}", lambda count=count: len(model.sample(**good, num_samples=count, num_steps=2)) == 2
        )
