"""The training step as one would first write it: what `benchmarks.training` compares with, for its speed and its loss.

The same weights, signals, positions and loss. Every token lies in one sequence under one mask, attention is written out
(scores, mask, softmax, sum), each projection is a product of its own, the mass of a cell a difference of two
`log_ndtr`, all in float32; images are decoded one by one each time they come, and looked up position by position.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from pixeltransformer.attention import Block, EncoderBlock
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.base import Rows
from signals.cells import random_cells
from training.episodes import EpisodeSizes, mix_seed

Rotation = tuple[Tensor, Tensor] | None


def attention(queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v for heads (B, H, L, D), where `visible` (L, keys) allows it."""
    scores = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
    return scores.masked_fill(~visible, -math.inf).softmax(-1) @ values


def heads(x: Tensor, block: Block) -> Tensor:
    """(B, L, W) to (B, H, L, D)."""
    batch, length, width = x.shape
    return x.view(batch, length, block.num_heads, width // block.num_heads).transpose(1, 2)


def rotate(x: Tensor, at: Rotation) -> Tensor:
    """Rotate the two halves of heads x (B, H, L, D)."""
    half = x.shape[-1] // 2
    cos, sin = at[0][..., half:], at[1][..., half:]
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1)


@dataclass
class Projections:
    """Weights (W, W) of a layer's queries, keys and values, and the norms (D,) of queries and keys in each head."""

    query: Tensor
    key: Tensor
    value: Tensor
    query_norm: Tensor
    key_norm: Tensor

    @classmethod
    def of_encoder(cls, block: EncoderBlock) -> "Projections":
        return cls(*block.query_key_value.weight.chunk(3), *block.query_key_norm.weight.flatten(1))

    @classmethod
    def of_decoder(cls, model: PixelTransformerModel, index: int) -> "Projections":
        block, memory = model.decoder[index], model.keys_values
        key, value = memory.projection.weight.chunk(2 * len(model.decoder))[2 * index : 2 * index + 2]
        return cls(block.query.weight, key, value, block.query_norm.weight, memory.key_norm.weight[index].flatten())


def layer(
    block: Block,
    projections: Projections,
    x: Tensor,
    at: Rotation,
    others: Tensor | None,
    others_at: Rotation,
    visible: Tensor,
) -> Tensor:
    """Pre-norm attention of x (B, L, W) to `others` (`None`: to x itself), and the gated feed-forward layer."""
    normed = block.attention_norm(x)
    others = normed if others is None else others

    def project(x: Tensor, weight: Tensor, norm: Tensor | None = None) -> Tensor:
        projected = heads(x @ weight.T, block)
        return projected if norm is None else layer_norm(projected, norm.shape, norm)

    queries = rotate(project(normed, projections.query, projections.query_norm), at)
    keys = rotate(project(others, projections.key, projections.key_norm), others_at)
    mixed = attention(queries, keys, project(others, projections.value), visible)
    x = x + block.output(mixed.transpose(1, 2).reshape(x.shape))
    normed = block.feed_forward_norm(x)
    gate, up = block.feed_forward.up.weight.chunk(2)
    return x + block.feed_forward.down(silu(normed @ gate.T) * (normed @ up.T))


def loss(model: PixelTransformerModel, episode: dict[str, Tensor]) -> Tensor:
    """Mean negative log-likelihood of queries and buffer; for the default architecture (pre-norm, rotary, gated)."""
    positions = torch.cat((episode["context_positions"], episode["buffer_positions"]), 1)
    values = torch.cat((episode["context_values"], episode["buffer_values"]), 1)
    batch, asked = len(positions), episode["query_positions"].shape[1]
    nothing = model.nothing_observed.token.expand(batch, 1, -1)
    tokens = torch.cat((nothing, model.embed_tokens(positions, values)), 1)
    token_at = model.rotation(torch.cat((torch.zeros_like(positions[:, :1]), positions), 1))
    query_positions = torch.cat((episode["query_positions"], episode["buffer_positions"]), 1)
    queries, query_at = model.embed_queries(query_positions), model.rotation(query_positions)

    known = torch.zeros(1 + episode["context_positions"].shape[1], dtype=torch.long)
    blocks = episode["buffer_blocks"]
    token_block = torch.cat((known, blocks))
    query_block = torch.cat((torch.ones(asked, dtype=torch.long), blocks))  # queries see the context alone
    for block in model.encoder:
        seen = token_block[None, :] <= token_block[:, None]
        tokens = layer(block, Projections.of_encoder(block), tokens, token_at, None, token_at, seen)
    tokens = model.encoder_norm(tokens)
    for index, block in enumerate(model.decoder):
        seen = token_block[None, :] < query_block[:, None]
        queries = layer(block, Projections.of_decoder(model, index), queries, query_at, tokens, token_at, seen)
    distribution = model.value_distribution(model.decoder_norm(queries))
    targets = torch.cat((episode["query_values"], episode["buffer_values"]), 1)
    return -log_prob(distribution, targets).mean()


def log_prob(distribution: ValueDistribution, values: Tensor) -> Tensor:
    """Log-mass (B, Q) of the cells of quantised values (B, Q, V)."""
    levels = distribution.quantiser
    low, high, step = levels
    std = distribution.log_stds.exp()
    std = std if std.dim() == distribution.means.dim() else std.unsqueeze(-1)
    level = levels.index(values.unsqueeze(-2))
    center = levels.at(level)
    means = distribution.means.clone()
    if distribution.coefficients is not None:
        number = 0
        for channel in range(1, means.shape[-1]):
            for earlier in range(channel):
                away = center[..., earlier] - distribution.means[..., earlier]
                means[..., channel] = means[..., channel] + distribution.coefficients[..., number] * away
                number += 1
    far = 2 * (high - low) + 100 * std
    lower = (torch.where(level > 0, center - step / 2, low - far) - means) / std
    upper = (torch.where(center < high - step / 2, center + step / 2, high + far) - means) / std
    flip = lower + upper > 0  # to the left of the mean, where log_ndtr keeps its precision
    near, away = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    near, away = torch.special.log_ndtr(near), torch.special.log_ndtr(away)
    mass = near + torch.log(-torch.expm1((away - near).clamp(max=-1e-6)))
    return (distribution.log_weights + mass.sum(-1)).logsumexp(-1)


def make_episode(rows: Rows, indices: list[int], sizes: EpisodeSizes, seed: int, step: int) -> dict[str, Tensor]:
    """What `training.episodes.make_episode` gives for images at cell centres, one value at a time."""
    generator = torch.Generator().manual_seed(mix_seed(seed, 3, step))
    count = sizes.context + sizes.buffer + sizes.queries
    images = [rows.decode(rows.source[index]) for index in indices]
    height, width, channels = images[0].shape
    cells = random_cells(len(images), count, [width, height], generator, "cpu")
    positions, values = torch.empty(len(images), count, 2), torch.empty(len(images), count, channels)
    for number, image in enumerate(images):
        for index, cell in enumerate(cells[number].tolist()):
            x, y = cell % width, cell // width
            positions[number, index] = torch.tensor([(x + 0.5) * 2 / width - 1, (y + 0.5) * 2 / height - 1])
            values[number, index] = image[y, x] / 255
    first, second = sizes.context, sizes.context + sizes.buffer
    parts = {"context": slice(0, first), "buffer": slice(first, second), "query": slice(second, None)}
    episode = {f"{name}_positions": positions[:, part] for name, part in parts.items()}
    episode |= {f"{name}_values": values[:, part] for name, part in parts.items()}
    return episode | {"buffer_blocks": torch.arange(sizes.buffer) // sizes.block + 1}
