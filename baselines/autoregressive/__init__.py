"""The field that PixelTransformer grew from: autoregressive models, each in the file of its family.

`MODELS` lists them by the name that `python -m baselines.train --model NAME` takes. The files import each other by
relative names alone and lie flat, so that `save_pretrained` can copy those that a model needs beside its weights.
"""

from dataclasses import dataclass, field
from importlib import import_module


@dataclass(frozen=True)
class Entry:
    """A model by name: its file, its class, the sizes that make it, and published joint nats on binarised MNIST.

    Attributes:
        published (`float` or `None`): With dynamic binarisation, unless `static`. Dynamic figures of NADE, MADE,
            PixelCNN, Gated PixelCNN and PixelSNAIL are those of github.com/EugenHotaj/pytorch-generative, as most
            papers report static binarisation; those of FVSBN, ImageGPT and LMConv have not been traced to a source.
        curves (`bool`): Whether it models curves, not images.
        rate (`float`): Peak learning rate of AdamW.
        muon (`float` or `None`): Peak learning rate of Muon, which trains the inner weights; `None`: AdamW trains all.
        batch (`int`): Images of a training step: fewer where a step takes long, so that there are enough steps.
    """

    file: str
    name: str
    config: dict = field(default_factory=dict)
    published: float | None = None
    static: bool = False
    curves: bool = False
    rate: float = 2e-3
    muon: float | None = None
    batch: int = 64

    @property
    def model(self) -> type:
        """The class, a `PreTrainedModel`."""
        return getattr(import_module(f"baselines.autoregressive.{self.file}"), self.name)

    def make(self, **fields):
        """A new model for data with these fields of its config, e. g. `native_grid`, `num_levels`."""
        return self.model(self.model.config_class(**{**self.config, **fields}))


ANY_SIZE = {"largest_enlargement": 50, "reconstruction": 1, "prior_components": 20, "hidden_size": 28}
MODELS = {
    "pixel-histogram": Entry("counting", "PixelHistogram"),
    "joint-histogram": Entry("counting", "JointHistogram"),
    "parametric-pixels": Entry("counting", "ParametricPixels"),
    "fvsbn": Entry("nade", "FVSBN", published=96.58, rate=5e-3),
    "nade": Entry("nade", "NADE", published=85.65, rate=3e-3),
    "eonade": Entry("nade", "EoNADE", published=84.68, static=True, rate=3e-3),
    "rnade": Entry("nade", "NADE", {"hidden_size": 128, "num_levels": None, "native_grid": (256,)}, curves=True),
    "categorical-nade": Entry("nade", "NADE", {"hidden_size": 64, "features": 4, "num_levels": 256}),
    "made": Entry(
        "made", "MADE", {"hidden_size": 238, "num_layers": 2, "direct": True}, published=88.40, static=True, rate=5e-3
    ),
    "made-orders": Entry("made", "MADE", {"num_orders": 32}, published=84.87, rate=5e-3),
    "pixel-sequence": Entry("pixel_rnn", "PixelSequence", batch=16),
    "row-lstm": Entry("pixel_rnn", "PixelRNN", {"layer": "row"}, published=80.54, static=True, batch=16),
    "diagonal-bilstm": Entry("pixel_rnn", "PixelRNN", {"layer": "diagonal"}, published=79.20, static=True, batch=16),
    "multi-scale": Entry("multiscale", "MultiScalePixelRNN", batch=16),
    "pixelcnn": Entry("pixelcnn", "PixelCNN", {"num_layers": 15}, published=81.45, muon=5e-3, batch=16),
    "gated-pixelcnn": Entry("pixelcnn", "GatedPixelCNN", {"num_layers": 12}, published=81.50, muon=5e-3, batch=16),
    "pixelcnn++": Entry("pixelcnn_plus", "PixelCNNPlus", muon=5e-3, batch=16),
    "pixelsnail": Entry("pixelsnail", "PixelSNAIL", published=78.61, muon=5e-3, batch=16),
    "lmconv": Entry("lmconv", "LMConv", published=77.56, muon=5e-3, batch=16),
    "spatial-pixelcnn": Entry("spatial_pixelcnn", "SpatialPixelCNN", ANY_SIZE, muon=5e-3),
    "spatial-pixelcnn-16": Entry("spatial_pixelcnn", "SpatialPixelCNN", {"patch_size": 16, **ANY_SIZE}, muon=5e-3),
    "wavenet": Entry("wavenet", "WaveNet", curves=True),
    "image-gpt": Entry("image_gpt", "ImageGPT", published=79.17, rate=1e-3, batch=16),
}
