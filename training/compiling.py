"""Compiled layers for training: what lies between the matrix products is fused, once for all layers and sizes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch

from pixeltransformer import levels
from pixeltransformer.attention import Block, DecoderBlock, EncoderBlock, KeysValues
from pixeltransformer.head import Bounds

# Norms, rotations, gates and residual sums, and the components of a distribution. Attention is left out, as its sizes
# change with every step and compiled softmax is no faster; so is the whole model, which takes minutes for each kind of
# step.
PARTS = (
    (EncoderBlock, "project"),
    (DecoderBlock, "project"),
    (KeysValues, "forward"),
    (Block, "residual"),
    (Bounds, "components"),
)
# The mass of a cell, forward and backward apart: together, the backward pass would compute half of it again.
WITHOUT_GRADIENTS = ("log_gaussian_mass", "log_gaussian_mass_gradients")
MASS = tuple((levels, name) for name in WITHOUT_GRADIENTS)


@contextmanager
def compiled_layers(backend: str = "inductor") -> Iterator[None]:
    """Within it, layers of all models run compiled where gradients are wanted. Compiling takes a minute, one time.

    Args:
        backend (`str`): As in `torch.compile`. "inductor" needs a C++ compiler on CPUs.
    """
    originals = [(owner, name, getattr(owner, name)) for owner, name in (*PARTS, *MASS)]
    for owner, name, original in originals:
        # Sizes are taken as fixed until they change: with widths, heads and bins unknown, kernels take twice the time.
        compiled = torch.compile(original, backend=backend)
        setattr(owner, name, compiled if (owner, name) in MASS else _when_training(original, compiled))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _when_training(original: Callable, compiled: Callable) -> Callable:
    @wraps(original)
    def call(*arguments):
        return (compiled if torch.is_grad_enabled() else original)(*arguments)

    return call
