"""The model. Importing the package makes `AutoConfig` and `AutoModel` know it, without `trust_remote_code`.

The classes are registered here and not in the modules that `save_pretrained` copies: the first checkpoint loaded with
`trust_remote_code` would otherwise lend its code to every later one.
"""

from transformers import AutoConfig, AutoModel

from .configuration_pixeltransformer import PixelTransformerConfig
from .distribution import ValueDistribution
from .modeling_pixeltransformer import PixelTransformerModel, PixelTransformerOutput

__all__ = ["PixelTransformerConfig", "PixelTransformerModel", "PixelTransformerOutput", "ValueDistribution"]

AutoConfig.register(PixelTransformerConfig.model_type, PixelTransformerConfig, exist_ok=True)
AutoModel.register(PixelTransformerConfig, PixelTransformerModel, exist_ok=True)
