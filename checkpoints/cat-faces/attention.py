"""The layers: attention and a perceptron, as functions of bare weights; and what is kept of the tokens they encoded.

In the comments B = batch, W = hidden size, H = heads, D = head dim, F = feed-forward width, L = tokens.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_pixeltransformer import PixelTransformerConfig

EPSILONS = {"layer": 1e-5, "rms": 1e-6}
WRITTEN_OUT = 800  # keys up to which attention is written out in training on a CPU


@dataclass
class Span:
    """Tokens start:stop of a sequence attend to the first `num_keys` keys, where `mask` (broadcastable to
    (B, H, stop - start, num_keys), True = visible) allows it."""

    start: int
    stop: int
    num_keys: int
    mask: Tensor | None = None


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor], inverse: bool = False) -> Tensor:
    """Rotate entries i and i + D/2 of x (..., B, H, L, D) by the angles of `rotation`, or back."""
    cos, sin = rotation[0].to(x.dtype), rotation[1].to(x.dtype)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin, value=-1 if inverse else 1)


def as_products(x: Tensor) -> Tensor:
    """x in the dtype that matrix products have here: under autocast, they would each make a copy of their own."""
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


def make_norm(config: PixelTransformerConfig, width: int) -> nn.Module:
    """The configured normalisation over `width` features."""
    return nn.RMSNorm(width, eps=EPSILONS["rms"]) if config.norm == "rms" else nn.LayerNorm(width, bias=False)


class FeedForward(nn.Module):
    """Weights of a two-layer perceptron, gated by SiLU ("swiglu") or plain ("relu")."""

    def __init__(self, config: PixelTransformerConfig):
        super().__init__()
        self.gate = None
        if config.activation == "swiglu":
            self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=self.gate is None)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=self.gate is None)


class Block(nn.Module):
    """Weights of attention and of the feed-forward layer behind it; the same block encodes and decodes."""

    def __init__(self, config: PixelTransformerConfig):
        super().__init__()
        width = config.hidden_size
        self.style = Style(
            num_heads=config.num_attention_heads,
            norm=config.norm,
            pre_norm=config.norm_position == "pre",
            gated=config.activation == "swiglu",
            rotary_values=config.rotary_values,
        )
        self.attention_norm = make_norm(config, width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.query_norm = make_norm(config, config.head_dim) if config.qk_norm else None
        self.key_norm = make_norm(config, config.head_dim) if config.qk_norm else None
        self.feed_forward_norm = make_norm(config, width)
        self.feed_forward = FeedForward(config)

    def layer(self, encodes: bool) -> "Layer":
        """The layer that it is in the encoder, whose tokens attend to each other, or in the decoder."""
        feed, normed = self.feed_forward, self.query_norm is not None
        projections = (self.query, self.key, self.value) if encodes else (self.query,)
        norms = (self.query_norm, self.key_norm) if encodes else (self.query_norm,)
        return Layer(
            self.style,
            self.attention_norm.weight,
            torch.cat([projection.weight for projection in projections]) if encodes else self.query.weight,
            torch.stack([norm.weight for norm in norms]) if normed else None,
            self.output.weight,
            self.feed_forward_norm.weight,
            torch.cat((feed.gate.weight, feed.up.weight)) if self.style.gated else feed.up.weight,
            feed.up.bias,
            feed.down.weight,
            feed.down.bias,
        )


class Style(NamedTuple):
    """What tells the variants of a layer apart, see `PixelTransformerConfig`."""

    num_heads: int
    norm: str
    pre_norm: bool
    gated: bool
    rotary_values: bool


class Layer(NamedTuple):
    """A block's weights as its products take them: those that share an input stand one below the other.

    A step of the sampler is many small operations, whose number takes the time, not their size. So it works on bare
    tensors, joined once for all steps.
    """

    style: Style
    attention_norm: Tensor  # (W,)
    projection: Tensor  # of queries, keys, values (3 W, W), or of queries alone (W, W)
    head_norms: Tensor | None  # of queries and keys (2, D), or of queries alone (1, D)
    output: Tensor  # (W, W)
    feed_forward_norm: Tensor  # (W,)
    up: Tensor  # (2 F, W) with the gate above, or (F, W)
    up_bias: Tensor | None
    down: Tensor  # (W, F)
    down_bias: Tensor | None


class Layers(NamedTuple):
    """The layers of a model, and the product by which all of its decoder's keys and values are made of tokens."""

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    keys_values: Tensor  # (layers × 2 × W, W)
    key_norms: Tensor | None  # (layers, D)


def normalize(x: Tensor, weight: Tensor | None, norm: str) -> Tensor:
    """Layer or RMS norm over the last axis."""
    if norm == "rms":
        return F.rms_norm(x, x.shape[-1:], weight, EPSILONS["rms"])
    return F.layer_norm(x, x.shape[-1:], weight, None, EPSILONS["layer"])


def normalize_heads(x: Tensor, weights: Tensor | None, norm: str) -> Tensor:
    """Normalise each of x (N, B, H, L, D) over D, by N weights (N, D)."""
    return x if weights is None else normalize(x, None, norm) * weights[:, None, None, None]


def project_tokens(x: Tensor, rotation: tuple[Tensor, Tensor] | None, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, H, L, D) of tokens x (B, L, W) that attend to each other."""
    style = layer.style
    x = normalize(x, layer.attention_norm, style.norm) if style.pre_norm else x
    x = F.linear(x, layer.projection).unflatten(-1, (3, style.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, L, D)
    pair, values = normalize_heads(x[:2], layer.head_norms, style.norm), x[2]
    if rotation is not None:
        pair = rotate(pair, rotation)
        values = rotate(values, rotation) if style.rotary_values else values
    queries, keys = as_products(pair).unbind(0)
    return queries, keys, as_products(values)


def project_queries(x: Tensor, rotation: tuple[Tensor, Tensor] | None, layer: Layer) -> Tensor:
    """Queries (B, H, L, D) of x (B, L, W), which attends to others."""
    style = layer.style
    x = normalize(x, layer.attention_norm, style.norm) if style.pre_norm else x
    x = F.linear(x, layer.projection).unflatten(-1, (style.num_heads, -1)).transpose(1, 2)
    x = x if layer.head_norms is None else normalize(x, layer.head_norms[0], style.norm)
    return as_products(x if rotation is None else rotate(x, rotation))


def project_memory(x: Tensor, rotation: tuple[Tensor, Tensor] | None, layers: Layers) -> tuple[Tensor, Tensor]:
    """Keys and values (layers, B, H, L, D) that all layers of the decoder make of encoded tokens x (B, L, W)."""
    style, count = layers.decoder[0].style, len(layers.decoder)
    x = F.linear(x, layers.keys_values).unflatten(-1, (count, 2, style.num_heads, -1)).permute(3, 2, 0, 4, 1, 5)
    keys, values = normalize_heads(x[0], layers.key_norms, style.norm), x[1]
    if rotation is not None:
        keys = rotate(keys, rotation)
        values = rotate(values, rotation) if style.rotary_values else values
    return as_products(keys), as_products(values)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    spans: list[Span],
    rotation: tuple[Tensor, Tensor] | None,
    style: Style,
) -> Tensor:
    """What queries (B, H, L, D) read from keys and values as `spans` say, (B, L, W); one span is of all of them."""
    if len(spans) == 1:
        mixed = attention(queries, keys, values, spans[0].mask)
    else:
        parts = [
            attention(
                queries[:, :, span.start : span.stop],
                keys[:, :, : span.num_keys],
                values[:, :, : span.num_keys],
                span.mask,
            )
            for span in spans
        ]
        mixed = torch.cat(parts, 2)
    if style.rotary_values and rotation is not None:
        mixed = rotate(mixed, rotation, inverse=True)
    return mixed.transpose(1, 2).flatten(2)


def finish(x: Tensor, mixed: Tensor, layer: Layer) -> Tensor:
    """The rest of a layer, given its input x and what attention read, both (B, L, W): sums, norms and perceptron."""
    style = layer.style
    x = x + F.linear(mixed, layer.output)
    x = x if style.pre_norm else normalize(x, layer.attention_norm, style.norm)
    hidden = normalize(x, layer.feed_forward_norm, style.norm) if style.pre_norm else x
    hidden = F.linear(hidden, layer.up, layer.up_bias)
    if style.gated:
        gate, hidden = hidden.chunk(2, -1)
        hidden = F.silu(gate) * hidden
    else:
        hidden = hidden.relu()
    x = x + F.linear(hidden, layer.down, layer.down_bias)
    return x if style.pre_norm else normalize(x, layer.feed_forward_norm, style.norm)


class Memory:
    """Keys and values of all tokens encoded so far, for each encoder layer and for all decoder layers together.

    Tokens are ordered: the "nothing observed" token and the context (block 0), then the buffer. With `capacity` the
    tensors are allocated once and filled in place (sampling); without, they grow by concatenation (training).

    Attributes:
        length (`int`): Tokens held.
        layers (`list`): Per encoder layer a pair of keys and values (B, H, >= length, D) and, last, those of the
            decoder (layers, B, H, >= length, D).
        padding (`Tensor` (B, 1 + K) or `None`): False where a context token is padding.
        weights (`Layers`): With which they were encoded, and further tokens are.
        bounds (`Bounds`): Of the components that queries to it get, see `head_pixeltransformer`.
    """

    def __init__(self, weights: Layers, bounds: Any, capacity: int | None = None):
        self.weights, self.bounds = weights, bounds
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * (len(weights.encoder) + 1)
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

    def repeat(self, times: int, capacity: int) -> "Memory":
        """Each item `times` times, `times` slowest, with room for `capacity` tokens."""
        copy = Memory(self.weights, self.bounds, capacity)
        copy.padding = None if self.padding is None else self.padding.repeat(times, 1)
        for index, pair in enumerate(self.layers):
            copy.extend(index, *(x.repeat(*[1] * (x.dim() - 4), times, 1, 1, 1) for x in pair))
        copy.length = self.length
        return copy

    def mask_of_new(self, blocks: Tensor | None, count: int) -> Tensor | None:
        """What `count` tokens see that are about to be appended, of all tokens then held: those before, and among
        themselves those of their own or an earlier one of `blocks` (count,); `None`: all of each other."""
        causal = None
        if blocks is not None:
            causal = F.pad(blocks[None, :] <= blocks[:, None], (self.length, 0), value=True)
        return self.mask(causal, self.length + count)

    def mask(self, causal: Tensor | None, num_keys: int) -> Tensor | None:
        """Visibility (B or 1, 1, L, num_keys) from the padding and `causal` (L, num_keys); `None` if all is visible."""
        if self.padding is None:
            return None if causal is None else causal[None, None]
        padding = F.pad(self.padding, (0, num_keys - self.padding.shape[1]), value=True)[:, None, None]
        return padding if causal is None else padding & causal
