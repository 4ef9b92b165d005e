"""Loading and initialising weights, and which of them keep float32 whatever the model's dtype."""

import math
import re
from collections.abc import Callable
from itertools import chain

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel

from .attention import Block, Norm
from .configuration_pixeltransformer import PixelTransformerConfig
from .embeddings import FourierFeatures, NothingObserved, RotaryEmbedding, ScaleEmbedding
from .head import ChannelHead

# Names of weights in the layout of earlier versions of the code.
OLD_LAYOUT = r"^nothing_observed$|^(token|query)_embedding\.|coder\.\d+\.(key|value|feed_forward\.gate)\."


class PixelTransformerPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation."""

    config_class = PixelTransformerConfig
    base_model_prefix = "pixeltransformer"
    main_input_name = "context_positions"
    _supports_sdpa = True
    # Frequencies make angles, bin centres are data, log-weights and log-stds are small differences of large numbers:
    # they stay in float32 whatever the dtype that a model is loaded in or converted to.
    _keep_in_fp32_modules_strict = ["frequencies", "bin_centers", "value_embedding", "head", "channel_head"]
    _no_split_modules = ["EncoderBlock", "DecoderBlock"]  # what FSDP wraps, and a device map keeps whole

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """As inherited, but weights are read from safetensors alone unless `use_safetensors=False` is given, and those
        that do not fit the code are refused where the config is the checkpoint's own.

        Raises:
            ValueError: naming the weights that are missing, or that the code does not know; for a damaged file.
        """
        own_config = not any(key in kwargs for key in PixelTransformerConfig.own_fields())
        kwargs.setdefault("use_safetensors", True)
        try:
            model, info = super().from_pretrained(
                pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise ValueError(
                f"{pretrained_model_name_or_path}: expected whole safetensors weights, got a damaged file: {error}"
            ) from error
        wrong = {kind: sorted(map(str, info.get(f"{kind}_keys") or ())) for kind in ("missing", "unexpected")}
        if own_config and any(wrong.values()) or any(re.search(OLD_LAYOUT, key) for key in wrong["unexpected"]):
            found = "; ".join(f"{kind}: {', '.join(keys[:4])}" for kind, keys in wrong.items() if keys)
            changed = "if the config differs from its config.json, leave the changes out; otherwise, "
            raise ValueError(
                f"{pretrained_model_name_or_path}: expected weights of this version of the code "
                f"({cls.__module__}), got other ones ({found}); {changed if 'config' in kwargs else ''}"
                "load the checkpoint with its own code: "
                "AutoModel.from_pretrained(..., trust_remote_code=True) in a process that has not imported this one"
            )
        return (model, info) if output_loading_info else model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, ChannelHead):
            nn.init.zeros_(module.weight)
            module.bias.copy_(module.first_bias())
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Norm):
            nn.init.ones_(module.weight)
        elif isinstance(module, FourierFeatures):
            nn.init.normal_(module.frequencies, std=module.bandwidth)
        elif isinstance(module, ScaleEmbedding):
            nn.init.normal_(module.coarser, std=1.0)  # as large as what it is added to
        elif isinstance(module, RotaryEmbedding):
            module.reset_parameters()
        elif isinstance(module, NothingObserved):
            nn.init.normal_(module.token, std=std)
        if isinstance(module, Block):
            # Residual branches start small, so that depth does not change the scale of the stream.
            depth = self.config.num_encoder_layers + self.config.num_decoder_layers
            for branch in (module.output, module.feed_forward.down):
                nn.init.normal_(branch.weight, std=std / math.sqrt(depth))

    def _apply(self, fn: Callable, recurse: bool = True):
        """As inherited (`to`, `half`, `bfloat16`, …), but what needs float32 is only moved, never rounded."""
        exact = {
            id(tensor)
            for name, tensor in chain(self.named_parameters(), self.named_buffers())
            if set(self._keep_in_fp32_modules_strict) & set(name.split("."))
        }
        exact |= {id(p.grad) for p in self.parameters() if p.grad is not None and id(p) in exact}

        def convert(tensor: Tensor) -> Tensor:
            if id(tensor) not in exact or not tensor.is_floating_point():
                return fn(tensor)
            becomes = fn(tensor.new_empty(0))
            return fn(tensor) if becomes.dtype.itemsize >= 4 else tensor.to(becomes.device)

        return super()._apply(convert, recurse)
