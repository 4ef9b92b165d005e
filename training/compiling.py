"""Compiled layers for training: what lies between the matrix products is fused, once for all layers and sizes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch

from distribution_pixeltransformer import ValueDistribution
from modeling_pixeltransformer import Block, PixelTransformerModel

# Norms, rotations, gates and residual sums, and the mass of a cell. Attention is left out, as its sizes change with
# every step and compiled softmax is no faster; so is the whole model, which takes minutes for each kind of step.
PARTS = ((Block, "project"), (Block, "queries"), (Block, "finish"), (PixelTransformerModel, "_decoder_keys_values"))
PARTS += ((ValueDistribution, "_log_cell_mass"),)


@contextmanager
def compiled_layers(backend: str = "inductor") -> Iterator[None]:
    """Within it, layers of all models run compiled where gradients are wanted. Compiling takes a minute, one time.

    Args:
        backend (`str`): As in `torch.compile`. "inductor" needs a C++ compiler on CPUs.
    """
    originals = [getattr(owner, name) for owner, name in PARTS]
    for (owner, name), original in zip(PARTS, originals, strict=True):
        setattr(owner, name, _when_training(original, backend))
    try:
        yield
    finally:
        for (owner, name), original in zip(PARTS, originals, strict=True):
            setattr(owner, name, original)


def _when_training(original: Callable, backend: str) -> Callable:
    compiled = torch.compile(original, dynamic=True, backend=backend)

    @wraps(original)
    def call(*arguments):
        return (compiled if torch.is_grad_enabled() else original)(*arguments)

    return call
