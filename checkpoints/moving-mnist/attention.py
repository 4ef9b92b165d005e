"""The layers of the Transformer, and the memory that holds the keys and values of encoded tokens.

In the comments B = batch, W = hidden size, H = heads, D = head dim, F = feed-forward width, L = tokens.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_pixeltransformer import PixelTransformerConfig

WRITTEN_OUT = 800  # keys up to which attention is written out in training on a CPU

Rotation = tuple[Tensor, Tensor] | None  # rotary cosines and sines (B, H, L, D), see `RotaryEmbedding`


@dataclass
class Span:
    """Tokens start:stop of a sequence attend to the first `num_keys` keys, where `mask` allows it.

    A mask is broadcastable to (B, H, stop - start, num_keys). It is True where a key is visible or, outside training,
    a number that is added to the score: 0 or minus infinity. With `row`, the sequence holds the tokens of several rows
    of a memory, one row behind another, and these tokens attend to the keys of this row.
    """

    start: int
    stop: int
    num_keys: int
    mask: Tensor | None = None
    row: int | None = None

    def visible(self, x: Tensor) -> Tensor:
        """The keys, or values, that these tokens attend to, of all of them (B, H, keys, D)."""
        x = x if self.row is None else x[self.row : self.row + 1]
        return x[:, :, : self.num_keys]


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate entries i and i + D/2 of x (..., B, H, L, D) by the angles of `rotation`."""
    if rotation is None:
        return x
    cos, sin = rotation
    if cos.dtype != x.dtype:
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def as_products(x: Tensor) -> Tensor:
    """x in the dtype of matrix products. Under autocast, each product would otherwise make its own copy of x."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √D) v for heads (B, H, L, D), where `mask` (broadcastable to (B, H, L, keys)) allows it.

    On CPUs the fused kernel's backward pass takes twice the time of the products written out, as long as these fit.
    """
    if not (torch.is_grad_enabled() and queries.device.type == "cpu" and keys.shape[2] <= WRITTEN_OUT):
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-1, -2)
    if mask is not None:  # added, as filling is as slow as the product, and once more for the gradient
        scores += torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, -math.inf)
    with torch.autocast("cpu", enabled=False):  # which would have the probabilities in float32
        return scores.softmax(-1) @ values.to(scores.dtype)


def attend(queries: Tensor, keys: Tensor, values: Tensor, spans: list[Span]) -> Tensor:
    """Attention of queries (B, H, L, D) span by span, heads joined again: (B, L, W)."""
    parts = [
        attention(queries[:, :, span.start : span.stop], span.visible(keys), span.visible(values), span.mask)
        for span in spans
    ]
    mixed = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
    return mixed.transpose(1, 2).flatten(2)


class Norm(nn.Module):
    """Layer norm without bias, or RMS norm, over the last axis, which has `width` features.

    With `count`, x has shape (count, B, H, L, width) and holds stacked projections, each with its own weights.
    """

    def __init__(self, config: PixelTransformerConfig, width: int, count: int | None = None):
        super().__init__()
        self.kind, self.shape, self.stacked = config.norm, (width,), count is not None
        self.weight = nn.Parameter(torch.empty(width if count is None else (count, 1, 1, 1, width)))

    def forward(self, x: Tensor) -> Tensor:
        weight, factor = (None, self.weight) if self.stacked else (self.weight, None)
        # The functions behind `torch.nn.functional`: a sampler's pass is many small operations, and calls add up.
        if self.kind == "rms":
            x = torch.rms_norm(x, self.shape, weight, 1e-6)
        else:
            x = torch.layer_norm(x, self.shape, weight, None, 1e-5)
        return x if factor is None else x * factor


def joined_linear(width: int, sizes: list[int], bias: bool = False) -> nn.Linear:
    """A linear layer that computes several projections of the same input, their outputs one behind the other.

    One large product is faster than several small ones. `layer.sizes` keeps the widths of the projections: they are
    separate matrices to an optimiser that treats a matrix as a whole.
    """
    layer = nn.Linear(width, sum(sizes), bias=bias)
    layer.sizes = list(sizes)
    return layer


class FeedForward(nn.Module):
    """A two-layer perceptron, gated by SiLU ("swiglu", Shazeer 2020) or plain ("relu")."""

    def __init__(self, config: PixelTransformerConfig):
        super().__init__()
        self.gated = config.activation == "swiglu"
        wide = config.intermediate_size
        self.up = joined_linear(config.hidden_size, [wide] * (1 + self.gated), bias=not self.gated)
        self.down = nn.Linear(wide, config.hidden_size, bias=not self.gated)

    def forward(self, x: Tensor) -> Tensor:  # (B, L, W)
        x = self.up(x)
        if self.gated:
            gate, x = x.chunk(2, -1)
            x = F.silu(gate) * x
        else:
            x = x.relu()
        return self.down(x)


class Block(nn.Module):
    """What the layers of encoder and decoder share: attention and a perceptron, each added to its input.

    With `norm_position` "pre", the input of both is normalised; with "post", their sum with the input is.
    """

    def __init__(self, config: PixelTransformerConfig):
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.pre_norm = config.norm_position == "pre"
        self.attention_norm = Norm(config, width)
        self.output = nn.Linear(width, width, bias=False)
        self.feed_forward_norm = Norm(config, width)
        self.feed_forward = FeedForward(config)

    def residual(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The output (B, L, W) of the layer, given its input x and the result of attention."""
        x = x + self.output(mixed)
        if self.pre_norm:
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x)
        return self.feed_forward_norm(x + self.feed_forward(x))


class EncoderBlock(Block):
    """A layer of the encoder: tokens attend to each other and to those encoded before."""

    def __init__(self, config: PixelTransformerConfig, index: int):
        super().__init__(config)
        self.index = index
        self.query_key_value = joined_linear(config.hidden_size, [config.hidden_size] * 3)
        self.query_key_norm = Norm(config, config.head_dim, 2) if config.qk_norm else None

    def project(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, L, D) of tokens x (B, L, W)."""
        x = self.attention_norm(x) if self.pre_norm else x
        batch, length, _ = x.shape
        x = self.query_key_value(x).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # (3, B, H, L, D)
        queries_keys, values = x[:2], x[2]
        if self.query_key_norm is not None:
            queries_keys = self.query_key_norm(queries_keys)
        queries, keys = as_products(rotate(queries_keys, rotation)).unbind(0)
        return queries, keys, as_products(values)

    def forward(self, x: Tensor, rotation: Rotation, memory: "Memory", spans: list[Span]) -> Tensor:
        """Encode tokens x (B, L, W) and append their keys and values to `memory`."""
        queries, keys, values = self.project(x, rotation)
        keys, values = memory.extend(self.index, keys, values)
        return self.residual(x, attend(queries, keys, values, spans))


class KeysValues(nn.Module):
    """Keys and values that all layers of the decoder read, from encoded tokens: one projection for all layers."""

    def __init__(self, config: PixelTransformerConfig):
        super().__init__()
        self.num_layers, self.num_heads = config.num_decoder_layers, config.num_attention_heads
        self.projection = joined_linear(config.hidden_size, [config.hidden_size] * (2 * self.num_layers))
        self.key_norm = Norm(config, config.head_dim, self.num_layers) if config.qk_norm else None

    def forward(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        """Keys and values (layers, B, H, L, D) of encoded tokens x (B, L, W)."""
        batch, length, _ = x.shape
        x = self.projection(x).view(batch, length, self.num_layers, 2, self.num_heads, -1).permute(3, 2, 0, 4, 1, 5)
        keys = x[0] if self.key_norm is None else self.key_norm(x[0])
        return as_products(rotate(keys, rotation)), as_products(x[1])


class DecoderBlock(Block):
    """A layer of the decoder: queries attend to encoded tokens, and never to each other."""

    def __init__(self, config: PixelTransformerConfig):
        super().__init__(config)
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.query_norm = Norm(config, config.head_dim) if config.qk_norm else None

    def project(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Attention's queries (B, H, L, D) of x (B, L, W)."""
        x = self.attention_norm(x) if self.pre_norm else x
        batch, length, _ = x.shape
        x = self.query(x).view(batch, length, self.num_heads, -1).transpose(1, 2)
        x = x if self.query_norm is None else self.query_norm(x)
        return as_products(rotate(x, rotation))

    def forward(
        self,
        x: Tensor,
        rotation: Rotation,
        keys: Tensor,
        values: Tensor,
        spans: list[Span],
        projected: Tensor | None = None,
    ) -> Tensor:
        """Let x (B, L, W) read keys and values (B, H, keys, D); `projected` is `project(x)` where it is known."""
        queries = self.project(x, rotation) if projected is None else projected
        return self.residual(x, attend(queries, keys, values, spans))


def buffer_mask(blocks: Tensor, before: int, own: bool) -> Tensor:
    """What buffer values in `blocks` (M,) see of `before` other tokens and of each other, (M, before + M).

    They see all other tokens, the buffer's earlier blocks and, with `own`, their own block.
    """
    visible = blocks[None, :] <= blocks[:, None] if own else blocks[None, :] < blocks[:, None]
    return F.pad(visible, (before, 0), value=True)


class Memory:
    """Keys and values of all tokens encoded so far, for each encoder layer and for all decoder layers together.

    Tokens are ordered: the "nothing observed" token and the context (block 0), then the buffer. With `capacity` the
    tensors are allocated once and filled in place (sampling); without, they grow by concatenation (training).

    Attributes:
        length (`int`): Tokens held.
        layers (`list`): Per encoder layer a pair of keys and values (B, H, >= length, D) and, last, those of the
            decoder (layers, B, H, >= length, D).
        padding (`Tensor` (B, 1 + K) or `None`): False where a context token is padding.
        bounds (`Bounds`): Of the components that queries to it get, see `head.py`.
    """

    def __init__(self, num_layers: int, bounds: Any, capacity: int | None = None):
        """Of `num_layers` encoder layers and a decoder."""
        self.bounds = bounds
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * (num_layers + 1)
        self.capacity = capacity
        self.length = 0
        self.padding: Tensor | None = None

    def extend(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (..., L, D) to those of `layers[index]` and return all that it holds."""
        held = self.layers[index]
        if self.capacity is None:
            if held is not None:
                keys, values = torch.cat((held[0], keys), -2), torch.cat((held[1], values), -2)
            self.layers[index] = (keys, values)
            return keys, values
        if held is None:
            shape = (*keys.shape[:-2], self.capacity, keys.shape[-1])
            self.layers[index] = held = (keys.new_empty(shape), values.new_empty(shape))
        count = keys.shape[-2]
        held[0].narrow(-2, self.length, count).copy_(keys)
        held[1].narrow(-2, self.length, count).copy_(values)
        return held[0].narrow(-2, 0, self.length + count), held[1].narrow(-2, 0, self.length + count)

    def decoder(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (B, H, length, D) of each decoder layer."""
        keys, values = (x.narrow(-2, 0, self.length).unbind(0) for x in self.layers[-1])
        return list(zip(keys, values, strict=True))

    def spans_of_new(self, count: int, blocks: Tensor | None) -> list[Span]:
        """What `count` tokens see that are about to be appended, of all tokens then held: those before, and among
        themselves those of their own or an earlier one of `blocks` (count,); `None`: all of each other."""
        causal = None if blocks is None else buffer_mask(blocks, self.length, own=True)
        return [Span(0, count, self.length + count, self.mask(causal, self.length + count))]

    def spans(self, count: int, causal: Tensor | None = None) -> list[Span]:
        """What `count` queries see of all tokens held: those that `causal` (count, length) shows; `None`: all."""
        return [Span(0, count, self.length, self.mask(causal, self.length))]

    def mask(self, causal: Tensor | None, num_keys: int) -> Tensor | None:
        """Visibility (B or 1, 1, L, num_keys) from the padding and `causal` (L, num_keys); `None` if all is visible."""
        if self.padding is None:
            return None if causal is None else causal[None, None]
        padding = F.pad(self.padding, (0, num_keys - self.padding.shape[1]), value=True)[:, None, None]
        return padding if causal is None else padding & causal
