"""The pipeline "pixel-completion": pictures with hidden pixels in, completed pictures and their uncertainty out."""

from typing import Any

import torch
from torch import Tensor
from transformers import Pipeline

# What a checkpoint's config says, so that `pipeline("pixel-completion", model=...)` finds this file.
CUSTOM_PIPELINES = {"pixel-completion": {"impl": "pixel_completion.PixelCompletionPipeline", "pt": ["AutoModel"]}}
OF_INPUTS = ("mask", "pattern", "num_pixels", "size")
OF_SAMPLES = ("num_samples", "num_steps", "temperature", "order", "num_autoregressive")


class PixelCompletionPipeline(Pipeline):
    """Completes pictures: `pipeline("pixel-completion", model=..., trust_remote_code=True)(picture, mask=mask)`.

    Takes a picture or a list of pictures; for masks of their own, dictionaries with `image` and `mask`. One of `mask`
    (white where pixels are hidden), `pattern` and `num_pixels` says what is observed; these, `size` and `generator` are
    those of the checkpoint's image processor. `num_samples` (1; 0 for none), `num_steps`, `temperature`, `order` and
    `num_autoregressive` are those of `model.sample`; exact samples by default.

    Returns, for each picture, a dictionary:

    - `mean`: the mean image, observed pixels as they are (PIL);
    - `samples`: a list of `num_samples` whole pictures (PIL);
    - `uncertainty`: white where the standard deviation is 0.25 or more, black where it is 0 (PIL);
    - `std`: the standard deviations, `Tensor` (y, x, V), 0 where observed.
    """

    _load_processor = False
    _load_image_processor = True
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, inputs: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Complete pictures, one after another.

        Raises:
            ValueError: for a batch size above 1; give a list to the image processor and call the model for that.
        """
        if batch_size not in (None, 1):
            raise ValueError(
                f"batch_size: expected 1, as pictures are completed one by one, got {batch_size}; for batches, give "
                "a list of pictures to the image processor and its result to the model"
            )
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **given: Any) -> tuple[dict, dict, dict]:
        known = (*OF_INPUTS, *OF_SAMPLES, "generator")
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise TypeError(f"{unknown[0]}: expected one of {', '.join(known)}, got an unknown argument")
        preprocess = {name: given[name] for name in (*OF_INPUTS, "generator") if name in given}
        forward = {name: given[name] for name in (*OF_SAMPLES, "generator") if name in given}
        return preprocess, forward, {}

    def preprocess(self, picture: Any, **options: Any) -> dict[str, Tensor]:
        """The model's arguments for one picture."""
        if isinstance(picture, dict):
            options, picture = options | {"mask": picture.get("mask", options.get("mask"))}, picture["image"]
        return self.image_processor(picture, **options)

    def _forward(self, inputs: dict, num_samples: int = 1, generator: Any = None, **options: Any) -> dict[str, Any]:
        if isinstance(generator, int):
            generator = torch.Generator().manual_seed(generator)
        mean, variance = self.model.predict(**inputs, reduce=lambda marginal: marginal.moments)
        samples = None
        if num_samples:
            samples = self.model.sample(**inputs, num_samples=num_samples, generator=generator, **options)
        return {"inputs": dict(inputs), "mean": mean, "std": variance.sqrt(), "samples": samples}

    def postprocess(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """Pictures of what the model says."""
        inputs, processor = outputs["inputs"], self.image_processor
        known = {**inputs, "context_values": inputs["context_values"] * 0}
        samples = outputs["samples"]
        return {
            "mean": processor.post_process(inputs, outputs["mean"])[0],
            "samples": [] if samples is None else processor.post_process(inputs, samples)[0],
            "uncertainty": processor.post_process_uncertainty(inputs, outputs["std"])[0],
            "std": processor.post_process(known, outputs["std"], return_tensors="pt")[0],
        }
