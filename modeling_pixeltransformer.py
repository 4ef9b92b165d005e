"""The model, under the name that scripts import: it is defined in `pixeltransformer/`."""

from pixeltransformer.modeling_pixeltransformer import (
    PixelTransformerConfig,
    PixelTransformerModel,
    PixelTransformerOutput,
)

__all__ = ["PixelTransformerConfig", "PixelTransformerModel", "PixelTransformerOutput"]
