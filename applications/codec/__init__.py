"""A lossless codec for images whose probabilities come from a checkpoint: `python -m applications.codec --help`."""
