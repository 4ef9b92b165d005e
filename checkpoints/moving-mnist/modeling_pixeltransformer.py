"""PixelTransformer: a signal's value anywhere, as a distribution, given its values at a few positions.

The file reads in the order of the paper (Tulsiani & Gupta, ICML 2021): embed, encode, decode, distribution. The parts
are in `embeddings.py`, `attention.py` and `head.py`, sampling and joint likelihood in `sampling.py`. In the comments
B = batch, K = context, M = buffer, Q = queries, P and V = dimensions of positions and values, W = hidden size,
H = heads, D = head dim, L = tokens.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import (
    DecoderBlock,
    EncoderBlock,
    KeysValues,
    Memory,
    Norm,
    Rotation,
    Span,
    buffer_mask,
)
from .checks import check_blocks, check_given, check_inputs, read_context, read_positions
from .configuration_pixeltransformer import PixelTransformerConfig
from .distribution import ValueDistribution
from .embeddings import EmbeddedPositions, FourierFeatures, NothingObserved, PositionEmbedding, RotaryEmbedding
from .grids import centres
from .head import Bounds, ChannelHead, uniform_bins
from .hub import HubMixin
from .output import PixelTransformerOutput
from .prediction import predict, predict_from
from .pretrained import PixelTransformerPreTrainedModel
from .sampling import joint_log_prob, sample, sample_iter

LOOK_EVERY = 100  # calls in training on an accelerator, at whose numbers the checks look once

Inputs = tuple[Tensor, Tensor | None, Tensor | None]  # positions, values and scales as `forward` takes them


def dtype_of(module: nn.Module) -> torch.dtype:
    """Dtype that a module computes in, which may have more digits than the model's; a quantised one takes float32."""
    return next((parameter.dtype for parameter in module.parameters()), torch.float32)


class PixelTransformerModel(HubMixin, PixelTransformerPreTrainedModel):
    """Encoder over the observed set, cross-attention decoder over queries, mixture distribution over values.

    Positions lie in [-1, 1]^P at cell centres, x before y before z (videos t, x, y). A `context_mask` (B, K) is True at
    real tokens. K may be 0.

    Example:

    ```python
    >>> model = PixelTransformerModel(PixelTransformerConfig(native_grid=[8, 8], hidden_size=16, num_bins=4)).eval()
    >>> positions, values = torch.rand(1, 5, 2) * 2 - 1, torch.rand(1, 5, 1)
    >>> model.predict(positions, values, model.native_positions()).mean.shape
    torch.Size([1, 64, 1])

    ```
    """

    def __init__(self, config: PixelTransformerConfig):
        config.validate()  # fields may have been set since it was made
        super().__init__(config)
        width, half = config.hidden_size, config.hidden_size // 2
        self.nothing_observed = NothingObserved(width)
        self.position_features = FourierFeatures(config.position_dim, half, config.position_bandwidth)
        if config.value_bandwidth is None:
            self.value_embedding, size = nn.Linear(config.value_dim, half), half
        else:
            self.value_embedding = FourierFeatures(config.value_dim, half, config.value_bandwidth, include_input=True)
            size = self.value_embedding.size
        # A token is a linear layer of [value encoding ; position features]: two layers, as positions are known first.
        self.token_value = nn.Linear(size, width, bias=False)
        self.token_position = PositionEmbedding(self.position_features.size, config.num_scales, width)
        self.query_position = PositionEmbedding(self.position_features.size, config.num_scales, width)
        self.rotary = None
        if config.rotary:
            self.rotary = RotaryEmbedding(
                config.position_dim, config.num_attention_heads, config.head_dim, config.rotary_nyquist
            )
        self.encoder = nn.ModuleList(EncoderBlock(config, index) for index in range(config.num_encoder_layers))
        self.encoder_norm = Norm(config, width) if config.norm_position == "pre" else nn.Identity()
        self.keys_values = KeysValues(config)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_decoder_layers))
        self.decoder_norm = Norm(config, width) if config.norm_position == "pre" else nn.Identity()
        self.head = nn.Linear(width, config.num_bins * (config.value_dim + 2))
        self.channel_head = None
        if config.correlated_channels:
            self.channel_head = ChannelHead(width, config.num_bins, config.value_dim)
        self.register_buffer("bin_centers", torch.empty(config.num_bins, config.value_dim))
        self._calls_in_training = 0
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if not isinstance(module, PixelTransformerModel):
            return
        # Features of values and positions have unit size and must stay visible behind one another: with the small
        # weights of the layers a token hardly knows its value for the first thousand steps.
        value, position, query = module.token_value, module.token_position.linear, module.query_position.linear
        for layer in (value, position):
            nn.init.normal_(layer.weight, std=(value.in_features + position.in_features) ** -0.5)
        nn.init.normal_(query.weight, std=query.in_features**-0.5)
        module.bin_centers.copy_(uniform_bins(self.config))

    def get_input_embeddings(self) -> nn.Module:
        """The layer that embeds the encoded values of tokens."""
        return self.token_value

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the layer that embeds the encoded values of tokens."""
        self.token_value = value

    # ------------------------------------------------------------------ embed

    def set_bins(self, centers: Tensor) -> None:
        """Place the bins of the value distribution at `centers` (num_bins, V), in the units of values."""
        expected = tuple(self.bin_centers.shape)
        if tuple(centers.shape) != expected or not torch.isfinite(centers).all():
            raise ValueError(f"centers: expected finite numbers of shape {expected}, got shape {tuple(centers.shape)}")
        self.bin_centers.copy_(centers)

    def native_positions(self, grid: list[int] | None = None) -> Tensor:
        """Cell centres of a grid (default: the checkpoint's native one), (1, number of cells, P).

        The last axis of the signal's array runs fastest and is the first coordinate: for an image x, then y; a video's
        frames come one after another, although its positions are (t, x, y).
        """
        grid = list(grid) if grid is not None else self.config.native_grid
        if len(grid) != self.config.position_dim or min(grid) < 1:
            raise ValueError(f"grid: expected {self.config.position_dim} positive sizes, got {grid}")
        axes = [centres(torch.arange(n, device=self.bin_centers.device), n) for n in grid]
        slowest_first = self.config.axes_slowest_first
        cells = torch.meshgrid(*(axes[axis] for axis in slowest_first), indexing="ij")
        coordinates = dict(zip(slowest_first, cells, strict=True))
        return torch.stack([coordinates[axis] for axis in range(len(grid))], -1).reshape(1, -1, len(grid))

    def embed_tokens(self, positions: Tensor, values: Tensor, scales: Tensor | None = None) -> Tensor:
        """Tokens (B, L, W) from positions (B, L, P), values (B, L, V) and scales (B, L)."""
        return self._add_values(self.token_position(self._features(positions), scales), values)

    def embed_queries(self, positions: Tensor, scales: Tensor | None = None) -> Tensor:
        """Queries (B, Q, W) from positions (B, Q, P) and scales (B, Q)."""
        return self.query_position(self._features(positions), scales)

    def embed_positions(self, positions: Tensor, scales: Tensor | None = None) -> EmbeddedPositions:
        """Whatever depends only on positions (B, L, P) and scales (B, L), computed before values are known."""
        features, rotation = self._features(positions), self.rotation(positions)
        queries = self.query_position(features, scales)
        projected = self.decoder[0].project(queries, rotation)
        return EmbeddedPositions(self.token_position(features, scales), queries, rotation, projected)

    def _features(self, positions: Tensor) -> Tensor:
        return self.position_features(positions).to(self.nothing_observed.token.dtype)

    def _add_values(self, tokens: Tensor, values: Tensor) -> Tensor:
        encoded = self.value_embedding(values.to(dtype_of(self.value_embedding)))
        return tokens + self.token_value(encoded.to(self.nothing_observed.token.dtype))

    def rotation(self, positions: Tensor) -> Rotation:
        """Cosine and sine of the rotary angles at positions (B, L, P), or `None` for a model without them."""
        return None if self.rotary is None else self.rotary(positions)

    # ------------------------------------------------------- encode and decode

    def _run_encoder(self, x: Tensor, rotation: Rotation, memory: Memory, spans: list[Span]) -> None:
        """Encode tokens (B, L, W), appending to `memory` their keys and values in every layer of both stacks."""
        for block in self.encoder:
            x = block(x, rotation, memory, spans)
        memory.extend(-1, *self.keys_values(self.encoder_norm(x), rotation))
        memory.length += x.shape[1]

    def _run_decoder(
        self, x: Tensor, rotation: Rotation, memory: Memory, spans: list[Span], projected: Tensor | None = None
    ) -> Tensor:
        """Let queries (B, Q, W) look at the memory; `projected` is what the first layer's `project` gives for them."""
        for block, (keys, values) in zip(self.decoder, memory.decoder(), strict=True):
            x = block(x, rotation, keys, values, spans, projected)
            projected = None
        return self.decoder_norm(x)

    def _context_tokens(self, positions: Tensor, values: Tensor, scales: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Context tokens behind the learned "nothing observed" token, and their positions (that token's is 0)."""
        tokens = self.nothing_observed(self.embed_tokens(positions, values, scales))
        return tokens, F.pad(positions, (0, 0, 1, 0))

    def _new_memory(self, context_mask: Tensor | None, capacity: int | None = None) -> Memory:
        memory = Memory(len(self.encoder), self._bounds(), capacity)
        if context_mask is not None:
            memory.padding = F.pad(context_mask.bool(), (1, 0), value=True)
        return memory

    def encode(
        self,
        positions: Tensor,
        values: Tensor,
        context_mask: Tensor | None = None,
        scales: Tensor | None = None,
        room: int = 0,
    ) -> Memory:
        """Encode the context (B, K, P), (B, K, V) as block 0: every token sees every other, and nothing else.

        The memory has room for `room` further tokens, to be appended in place.
        """
        tokens, positions = self._context_tokens(positions, values, scales)
        length = tokens.shape[1]
        memory = self._new_memory(context_mask, length + room if room else None)
        spans = [Span(0, length, length, memory.mask(None, length))]
        self._run_encoder(tokens, self.rotation(positions), memory, spans)
        return memory

    def append(self, memory: Memory, embedded: EmbeddedPositions, values: Tensor, blocks: Tensor | None = None) -> None:
        """Encode buffer values (B, M, V) at `embedded` behind all that `memory` holds.

        A token sees the memory and those of its own or an earlier block; `blocks` (M,) numbers them in rising order,
        `None` makes all M one block.
        """
        spans = memory.spans_of_new(values.shape[1], blocks)
        self._run_encoder(self._add_values(embedded.tokens, values), embedded.rotation, memory, spans)

    def decode(self, memory: Memory, embedded: EmbeddedPositions, causal: Tensor | None = None) -> ValueDistribution:
        """Distribution of the Q values at `embedded` given the memory, or its part that `causal` (Q, length) shows."""
        spans = memory.spans(embedded.queries.shape[1], causal)
        decoded = self._run_decoder(embedded.queries, embedded.rotation, memory, spans, embedded.projected)
        return self.value_distribution(decoded, memory.bounds)

    def _infer(self, memory: Memory, positions: Tensor, scales: Tensor | None) -> ValueDistribution:
        """Distributions at queries (B, Q, P), each given all that `memory` holds."""
        queries, spans = self.embed_queries(positions, scales), memory.spans(positions.shape[1])
        decoded = self._run_decoder(queries, self.rotation(positions), memory, spans)
        return self.value_distribution(decoded, memory.bounds)

    def _infer_with_buffer(
        self,
        context: tuple[Tensor, Tensor, Tensor | None],
        context_mask: Tensor | None,
        query: tuple[Tensor, Tensor | None],
        buffer: tuple[Tensor, Tensor, Tensor | None],
        blocks: Tensor | None,
    ) -> ValueDistribution:
        """Distributions (B, Q + M) of queries given the context, and of the buffer's M values given those before each.

        One pass encodes context and buffer, and one decodes all: what `encode`, `append` and `decode` do one by one.
        Context and buffer are positions, values and scales; queries are positions and scales.
        """
        tokens, positions = self._context_tokens(*context)
        memory = self._new_memory(context_mask)
        known, asked, count = tokens.shape[1], query[0].shape[1], buffer[0].shape[1]
        total = known + count
        blocks = torch.arange(1, count + 1, device=tokens.device) if blocks is None else blocks
        of_context = memory.mask(None, known)
        spans = [
            Span(0, known, known, of_context),
            Span(known, total, total, memory.mask(buffer_mask(blocks, known, own=True), total)),
        ]
        tokens = torch.cat((tokens, self.embed_tokens(*buffer)), 1)
        self._run_encoder(tokens, self.rotation(torch.cat((positions, buffer[0]), 1)), memory, spans)
        spans = [
            Span(0, asked, known, of_context),
            Span(asked, asked + count, total, memory.mask(buffer_mask(blocks, known, own=False), total)),
        ]
        queries = torch.cat((self.embed_queries(*query), self.embed_queries(buffer[0], buffer[2])), 1)
        decoded = self._run_decoder(queries, self.rotation(torch.cat((query[0], buffer[0]), 1)), memory, spans)
        return self.value_distribution(decoded, memory.bounds)

    def value_distribution(self, x: Tensor, bounds: Bounds | None = None) -> ValueDistribution:
        """The mixture that decoded queries (B, Q, W) describe, see `Bounds.components`.

        Bounds that are known already need not be computed again.
        """
        x = x.to(dtype_of(self.head))
        of_channels = None if self.channel_head is None else self.channel_head(x)
        *components, coefficients = (bounds or self._bounds()).components(self.head(x), of_channels)
        config = self.config
        shared = (config.value_range, config.quantization_step, self.bin_centers)
        return ValueDistribution.normalized(*components, *shared, coefficients)

    def log_std_offset(self) -> float:
        """What is added to the head's log-stds before they are bounded, see `Bounds.log_std_offset`."""
        return self._bounds().log_std_offset

    def _bounds(self) -> Bounds:
        return Bounds.of(self.config, self.bin_centers.float())

    # -------------------------------------------------------------- interface

    def forward(
        self,
        context_positions: Tensor,
        context_values: Tensor,
        query_positions: Tensor,
        query_values: Tensor | None = None,
        context_mask: Tensor | None = None,
        buffer_positions: Tensor | None = None,
        buffer_values: Tensor | None = None,
        buffer_blocks: Tensor | None = None,
        context_scales: Tensor | None = None,
        query_scales: Tensor | None = None,
        buffer_scales: Tensor | None = None,
        return_loss: bool = True,
    ) -> PixelTransformerOutput:
        """Distributions at the queries given the context and, in the same pass, of a buffer of values in order.

        Args:
            context_positions (`Tensor` (B, K, P)), context_values (`Tensor` (B, K, V)): The observed set.
            query_positions (`Tensor` (B, Q, P)), query_values (`Tensor` (B, Q, V)): Where values are asked for, and
                the true ones.
            context_mask (`Tensor` (B, K)): True at real tokens; `None`: all are real. Padding holds any valid numbers.
            buffer_positions (`Tensor` (B, M, P)), buffer_values (`Tensor` (B, M, V)): Values revealed after the
                context, in order. Each is scored given the context and the blocks before its own.
            buffer_blocks (`Tensor` (M,), integers from 1 in rising order): The block of each buffer value; `None`:
                blocks of one. The order of blocks is shared by the batch.
            context_scales (`Tensor` (B, K)), query_scales (`Tensor` (B, Q)), buffer_scales (`Tensor` (B, M)): log2 of
                the side of the cell that a value is the average of, over the side of a native cell, from 0 to
                `config.num_scales - 1`; `None`: all are native cells.
            return_loss (`bool`): Compute the loss where `query_values` are given.

        Numbers are checked at each call, with two exceptions. In training on an accelerator, only the first and then
        every hundredth call is checked, because a check waits for the device. A compiled graph checks by assertions of
        its own, which raise `RuntimeError`.

        Raises:
            ValueError: naming the argument, what was expected and what came.
        """
        buffer = (buffer_positions, buffer_values, buffer_scales)
        self._check_call(
            (context_positions, context_values, context_scales),
            context_mask,
            (query_positions, query_values, query_scales),
            buffer,
            buffer_blocks,
        )
        query_positions = query_positions.expand(context_positions.shape[0], -1, -1)
        num_queries, num_buffer = query_positions.shape[1], 0 if buffer_positions is None else buffer_positions.shape[1]
        context, query = (context_positions, context_values, context_scales), (query_positions, query_scales)
        if num_buffer:
            distribution = self._infer_with_buffer(context, context_mask, query, buffer, buffer_blocks)
        else:
            memory = self.encode(*context[:2], context_mask, context_scales)
            distribution = self._infer(memory, *query)
        ours = distribution[:, :num_queries] if num_buffer else distribution
        of_buffer = distribution[:, num_queries:] if num_buffer else None
        if query_values is None:
            return PixelTransformerOutput(distribution=ours, buffer_distribution=of_buffer)
        targets = query_values if not num_buffer else torch.cat((query_values, buffer_values), 1)
        log_prob = distribution.log_prob(targets)
        loss = -log_prob.mean() if return_loss else None
        if self.training:
            return PixelTransformerOutput(loss=loss, distribution=ours, buffer_distribution=of_buffer)
        return PixelTransformerOutput(loss, ours.mean, log_prob[:, :num_queries], ours, of_buffer)

    def _check_call(
        self,
        context: Inputs,
        mask: Tensor | None,
        query: Inputs,
        buffer: tuple[Tensor | None, ...],
        blocks: Tensor | None = None,
    ) -> None:
        """Check what `forward` is given: positions, values and scales of context, queries and buffer, and blocks."""
        numbers = True
        if self.training and not torch.compiler.is_compiling() and isinstance(context[0], Tensor):
            numbers = context[0].device.type == "cpu" or self._calls_in_training % LOOK_EVERY == 0
            self._calls_in_training += 1
        config = self.config
        check_inputs(config, "context", *context[:2], mask, scales=context[2], numbers=numbers)
        batch = context[0].shape[0]
        check_inputs(config, "query", *query[:2], batch=batch, scales=query[2], numbers=numbers)
        if any(part is not None for part in (*buffer, blocks)):
            check_given("buffer_positions", buffer[0])
            check_given("buffer_values", buffer[1])
            check_inputs(config, "buffer", *buffer[:2], batch=batch, scales=buffer[2], numbers=numbers)
            if blocks is not None:
                check_blocks("buffer_blocks", blocks, buffer[0].shape[1], "(M,)", numbers)

    def read_context(self, data: dict[str, Any], name: str = "context", letters: str = "", limit: int | None = None):
        """See `checks.read_context`: an observed set from JSON, under this model's config."""
        return read_context(self.config, data, name, letters, limit)

    def read_positions(self, rows: Any, name: str = "positions", letters: str = "", limit: int | None = None) -> Tensor:
        """See `checks.read_positions`: positions from JSON, under this model's config."""
        return read_positions(self.config, rows, name, letters, limit)

    # Plain functions of the model, see `prediction.py` and `sampling.py`.
    predict = predict
    predict_from = predict_from
    sample = sample
    sample_iter = sample_iter
    log_prob = joint_log_prob


PixelTransformerModel.register_for_auto_class("AutoModel")
