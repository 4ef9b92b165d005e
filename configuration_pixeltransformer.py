"""The configuration, under the name that scripts import: it is defined in `pixeltransformer/`."""

from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig

__all__ = ["PixelTransformerConfig"]
