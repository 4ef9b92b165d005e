"""Marginals of any number of queries, in chunks: plain functions of the model."""

from collections.abc import Callable

import torch
from torch import Tensor

from .attention import Memory
from .checks import check_inputs
from .distribution import ValueDistribution

CHUNK_SIZES = {"cpu": 2048}  # queries answered at a time: what is computed of them should stay in a core's cache
CHUNK_SIZE = 65536  # on other devices


@torch.no_grad()
def predict(
    model,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    context_mask: Tensor | None = None,
    chunk_size: int | None = None,
    context_scales: Tensor | None = None,
    query_scales: Tensor | None = None,
    reduce: Callable[[ValueDistribution], Tensor | tuple[Tensor, ...]] | None = None,
) -> ValueDistribution | Tensor | tuple[Tensor, ...]:
    """Marginal distributions, batch shape (B, Q), of any number of queries, or what `reduce` makes of them.

    The context is encoded once. Queries are answered in chunks, so that memory is bounded apart from the result. A
    distribution holds `num_bins` × (V + 2) numbers for each query; for a large grid, keep only what you need, as in
    `mean, variance = model.predict(..., reduce=lambda d: d.moments)`.

    Args:
        chunk_size (`int` or `None`): Queries of a chunk, over the whole batch; `None`: a size that suits the device.
        reduce (`Callable`): Turns the `ValueDistribution` of a chunk, batch shape (B, q), into a tensor (B, q, …) or a
            tuple of such tensors. Those of all chunks are joined and returned.

    Further arguments and errors as in `forward`.
    """
    batch = context_positions.shape[0] if isinstance(context_positions, Tensor) else None
    check_inputs(model.config, "context", context_positions, context_values, context_mask, scales=context_scales)
    check_inputs(model.config, "query", query_positions, batch=batch, scales=query_scales)
    memory = model.encode(context_positions, context_values, context_mask, context_scales)
    query_positions = query_positions.expand(batch, -1, -1)
    query_scales = None if query_scales is None else query_scales.expand(batch, -1)
    return predict_from(model, memory, query_positions, chunk_size, query_scales, reduce)


@torch.no_grad()
def predict_from(
    model,
    memory: Memory,
    query_positions: Tensor,
    chunk_size: int | None = None,
    query_scales: Tensor | None = None,
    reduce: Callable[[ValueDistribution], Tensor | tuple[Tensor, ...]] | None = None,
) -> ValueDistribution | Tensor | tuple[Tensor, ...]:
    """As `predict`, given an encoded memory and queries (B, Q, P)."""
    chunk_size = chunk_size or CHUNK_SIZES.get(query_positions.device.type, CHUNK_SIZE)
    size = max(1, chunk_size // query_positions.shape[0])
    parts, whole = [], []
    for start in range(0, query_positions.shape[1], size):
        chunk = query_positions[:, start : start + size]
        scales = None if query_scales is None else query_scales[:, start : start + size]
        distribution = model._infer(memory, chunk, scales)
        if reduce is None:
            parts.append(distribution)
            continue
        reduced = reduce(distribution)
        pieces = (reduced,) if isinstance(reduced, Tensor) else reduced
        if not whole:  # allocated once: pieces kept among what each chunk frees would scatter the heap
            count = query_positions.shape[1]
            whole = [piece.new_empty(piece.shape[0], count, *piece.shape[2:]) for piece in pieces]
        for target, piece in zip(whole, pieces, strict=True):
            target[:, start : start + size] = piece
    if reduce is not None:
        return whole[0] if isinstance(reduced, Tensor) else tuple(whole)
    return parts[0] if len(parts) == 1 else ValueDistribution.cat(parts, 1)
