"""What the table says of one model: likelihoods, completions, and the cost of samples and scores."""

import math
import statistics
import time

import torch
from torch import Tensor
from tqdm.auto import tqdm

from baselines.protocol import HIDDEN, FieldModel, can

BATCH = 64
TIMED = 3  # runs of which the median counts


@torch.no_grad()
def joint_nats(model: FieldModel, values: Tensor, bar: str = "", **more) -> Tensor | None:
    """Negative joint log-likelihoods (N,) of images (N, D, V) in nats; `None` where the model has none."""
    positions = model.native_positions()
    if not can(model, "log_prob", positions[:, :0]):
        return None
    found = []
    for part in tqdm(values.split(BATCH), desc=bar, disable=not bar, leave=False):
        everywhere = positions.expand(len(part), -1, -1)
        found.append(-model.log_prob(everywhere[:, :0], part[:, :0], everywhere, part, **more).double())
    return torch.cat(found)


@torch.no_grad()
def hidden_nats(model: FieldModel, values: Tensor, name: str, seed: int = 0, bar: str = "") -> Tensor | None:
    """Nats (N,) of what is hidden of images (N, D, V), given the rest; `None` where the model cannot answer.

    The contexts depend on the seed alone, so that all models are asked the same.
    """
    positions = model.native_positions()
    generator = torch.Generator().manual_seed(seed)
    found = []
    for part in tqdm(values.split(BATCH), desc=bar, disable=not bar, leave=False):
        everywhere = positions.expand(len(part), -1, -1)
        known, hidden = HIDDEN[name].observe(everywhere, generator)

        def pick(x: Tensor, index: Tensor) -> Tensor:
            return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))

        context, queries = pick(everywhere, known), pick(everywhere, hidden)
        if not can(model, "log_prob", context, queries):
            return None
        found.append(-model.log_prob(context, pick(part, known), queries, pick(part, hidden)).double())
    return torch.cat(found)


@torch.no_grad()
def costs(model: FieldModel, values: Tensor) -> dict[str, float | None]:
    """Seconds and passes of one sample drawn from nothing, and seconds to score an image, of images (N, D, V)."""
    positions, nothing = model.native_positions(), values[:1, :0]
    found: dict[str, float | None] = {"sample_seconds": None, "passes": None, "score_seconds": None}
    if can(model, "sample", positions[:, :0]):
        passes = count_passes(model)
        seconds = timed(lambda: model.sample(positions[:, :0], nothing, positions))
        found |= {"sample_seconds": seconds, "passes": passes() / TIMED}
    scored = values[:16]
    everywhere = positions.expand(len(scored), -1, -1)
    if can(model, "log_prob", positions[:, :0]):
        seconds = timed(lambda: model.log_prob(everywhere[:, :0], scored[:, :0], everywhere, scored))
        found["score_seconds"] = seconds / len(scored)
    return found


def count_passes(model: FieldModel):
    """A function that returns the passes since now: counted in PixelTransformer, known of the others."""
    if hasattr(model, "passes"):
        return lambda: TIMED * model.passes(model.config.num_cells)
    calls = [0]

    def note(*_: object) -> None:
        calls[0] += 1

    handle = model.decoder_norm.register_forward_hook(note)

    def read() -> int:
        handle.remove()
        return calls[0]

    return read


def timed(call) -> float:
    """Median seconds of a call."""
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def summary(nats: Tensor | None) -> dict[str, float] | None:
    """Mean and half-width of its 95 % interval over images."""
    if nats is None:
        return None
    half = 1.96 * nats.std().item() / math.sqrt(len(nats)) if len(nats) > 1 else math.nan
    return {"mean": nats.mean().item(), "half": half, "images": len(nats)}
