"""ImageGPT: a causal Transformer over pixels in raster order, from `transformers`.

Chen et al., ICML 2020. The paper reduces colours to a palette of 512 and trains up to 6.8 billion parameters for
features, not likelihoods; here grey levels are the vocabulary. Dynamically binarised MNIST: 79.17 nats for a model of
this kind (source not traced). A start token comes first; keys and values are cached in sampling.
"""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import DynamicCache, ImageGPTModel
from transformers import ImageGPTConfig as TransformerConfig

from .base import AutoregressiveModel
from .configuration import FieldConfig
from .distributions import Distribution
from .heads import Head


@strict
class ImageGPTConfig(FieldConfig):
    """Args:
    hidden_size: Width.
    num_layers: Layers.
    num_heads: Attention heads.
    """

    model_type = "field-image-gpt"

    hidden_size: int = 96
    num_layers: int = 3
    num_heads: int = 4


class ImageGPT(AutoregressiveModel):
    """Grey levels in raster order."""

    config_class = ImageGPTConfig

    def __init__(self, config: ImageGPTConfig):
        super().__init__(config)
        self.head = Head(config)
        inner = TransformerConfig(
            vocab_size=config.num_levels + 1,
            n_positions=config.num_cells,
            n_embd=config.hidden_size,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        self.transformer = ImageGPTModel(inner)
        self.output = nn.Linear(config.hidden_size, self.head.size)
        self.post_init()

    def _tokens(self, values: Tensor) -> Tensor:
        """Levels one place later, the start token (number L) first: (B, D)."""
        last = self.config.num_levels - 1
        return F.pad((values[:, :-1, 0] * last).round().long(), (1, 0), value=last + 1)

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        hidden = self.transformer(input_ids=self._tokens(values), use_cache=False).last_hidden_state
        return self.head.read(self.output(hidden))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        values, tokens = values.clone(), self._tokens(values)
        cache, seen = DynamicCache(), 0
        for cell in range(start, stop):
            found = self.transformer(
                input_ids=tokens[:, seen : cell + 1],
                position_ids=torch.arange(seen, cell + 1, device=values.device)[None],
                past_key_values=cache,
                use_cache=True,
            )
            cache, seen = found.past_key_values, cell + 1
            numbers = self.output(found.last_hidden_state[:, -1])
            values[:, cell] = self.head.read(numbers).sample((), generator, temperature)
            if cell + 1 < tokens.shape[1]:
                tokens[:, cell + 1] = (values[:, cell, 0] * (self.config.num_levels - 1)).round().long()
        return values
