"""Flags of a training as small as can be, which tests of several files run."""

from dataclasses import fields

from signals.image import Images
from training.arguments import Arguments


def arguments(image_folder, output_dir, **changes) -> tuple[Arguments, Images]:
    """Flags of a tiny training on images, the signal's own among them."""
    small = dict(hidden_size=16, num_encoder_layers=1, num_decoder_layers=1, intermediate_size=16, num_bins=4)
    small |= dict(max_context=40, buffer_size=8, max_queries=8, token_budget=256, mixed_precision="no")
    small |= dict(
        dataset_name=str(image_folder),
        validation_size=8,
        validation_contexts=[0, 4],
        max_train_steps=6,
        validate_every=3,
        save_every=2,
    )
    flags = {"output_dir": str(output_dir), **small, **changes}
    own = {entry.name for entry in fields(Images)}
    signal = Images(**{name: value for name, value in flags.items() if name in own})
    return Arguments(**{name: value for name, value in flags.items() if name not in own}), signal
