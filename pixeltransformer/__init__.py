"""The model. Importing the package makes the Auto classes know it, without `trust_remote_code`.

The classes are registered here and not in the modules that `save_pretrained` copies: the first checkpoint loaded with
`trust_remote_code` would otherwise lend its code to every later one.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModel
from transformers.utils import is_vision_available

from .configuration_pixeltransformer import PixelTransformerConfig
from .distribution import ValueDistribution
from .image_processing_pixeltransformer import PixelTransformerImageProcessor
from .modeling_pixeltransformer import PixelTransformerModel, PixelTransformerOutput

__all__ = [
    "PixelTransformerConfig",
    "PixelTransformerImageProcessor",
    "PixelTransformerModel",
    "PixelTransformerOutput",
    "ValueDistribution",
]

AutoConfig.register(PixelTransformerConfig.model_type, PixelTransformerConfig, exist_ok=True)
AutoModel.register(PixelTransformerConfig, PixelTransformerModel, exist_ok=True)
if is_vision_available():  # Pillow
    processors = {"pil": PixelTransformerImageProcessor}
    AutoImageProcessor.register(PixelTransformerConfig, image_processor_classes=processors, exist_ok=True)
