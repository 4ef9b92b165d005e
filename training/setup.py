"""What is made once before the loop: the data, the model with its bins, and what its card will tell."""

import os
import platform
import shlex
import sys

import numpy as np
import torch
from datasets import Dataset
from sklearn.cluster import KMeans

from configuration_pixeltransformer import PixelTransformerConfig
from modeling_pixeltransformer import PixelTransformerModel, uniform_bins
from signals.image import as_arrays, find_image_column, load_images, stack_arrays
from training.arguments import Arguments


def load_data(arguments: Arguments) -> tuple[Dataset, Dataset]:
    """Training and validation rows with a column "array" of uint8 (y, x, V); they share no row."""
    splits = load_images(arguments.dataset_name, arguments.cache_dir)
    for name in ("train_split", "validation_split"):
        split = getattr(arguments, name)
        if split is not None and split not in splits:
            raise ValueError(f"--{name}: expected one of {', '.join(splits)}, got {split!r}")
    rows = splits[arguments.train_split]
    if arguments.validation_split is not None:
        training, validation = rows, splits[arguments.validation_split]
    else:
        if len(rows) <= arguments.validation_size:
            raise ValueError(
                f"--validation_size: expected fewer than the {len(rows)} rows of split {arguments.train_split!r}, "
                f"got {arguments.validation_size}"
            )
        parts = rows.train_test_split(arguments.validation_size, seed=arguments.seed)
        training, validation = parts["train"], parts["test"]
    column = find_image_column(rows.features, arguments.image_column)
    channels = {"grey": 1, "colour": 3}.get(arguments.channels)
    if channels is None:
        channels = 1 if training[0][column].mode in ("1", "L", "I", "I;16", "F") else 3
    size = None if arguments.image_size is None else (arguments.image_size, arguments.image_size)
    training, validation = (as_arrays(part, column, size, channels) for part in (training, validation))
    return training, validation


def read_arrays(dataset: Dataset, count: int) -> torch.Tensor:
    """The first `count` rows as one uint8 batch (N, y, x, V)."""
    return stack_arrays([dataset[index] for index in range(min(count, len(dataset)))])


def make_model(arguments: Arguments, arrays: torch.Tensor) -> PixelTransformerModel:
    """The model for images like `arrays` (N, y, x, V), its bins placed on their values."""
    height, width, channels = arrays.shape[1:]
    if arguments.init_from is not None:
        try:
            model = PixelTransformerModel.from_pretrained(arguments.init_from, dtype=torch.float32)
        except OSError as error:
            raise ValueError(f"--init_from: cannot load {arguments.init_from!r}: {error}") from error
        if model.config.value_dim != channels:
            raise ValueError(
                f"--init_from: expected a checkpoint for {channels} channels, got {model.config.value_dim}"
            )
        model.config.native_grid = [width, height]
        return model
    sizes = ("hidden_size", "num_encoder_layers", "num_decoder_layers", "num_attention_heads", "intermediate_size")
    sizes += ("num_bins",)
    chosen = {name: getattr(arguments, name) for name in sizes if getattr(arguments, name) is not None}
    make = PixelTransformerConfig.paper if arguments.architecture == "paper" else PixelTransformerConfig
    config = make(signal="image", native_grid=[width, height], value_dim=channels, **chosen)
    model = PixelTransformerModel(config)
    if arguments.bins == "kmeans":
        model.set_bins(kmeans_bins(arrays.float() / 255, config, arguments.seed))
    return model


def kmeans_bins(values: torch.Tensor, config: PixelTransformerConfig, seed: int, count: int = 50_000) -> torch.Tensor:
    """k-means centres (num_bins, V) of values (…, V), sorted by brightness; uniform where there are too few values."""
    flat = values.reshape(-1, config.value_dim).numpy()
    flat = flat[np.random.default_rng(seed).permutation(len(flat))[:count]]
    distinct = np.unique(flat, axis=0)
    if len(distinct) < config.num_bins:
        return uniform_bins(config)
    centers = KMeans(config.num_bins, n_init=1, random_state=seed).fit(flat).cluster_centers_
    return torch.from_numpy(centers[centers.sum(1).argsort()]).float()


def machine() -> str:
    """The hardware and the versions that a run depends on, in one line."""
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}"
    else:
        device = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return f"{device}, torch {torch.__version__.split('+')[0]}"


def command() -> str:
    """The command line of this run."""
    launcher = "accelerate launch " if any(name.startswith("ACCELERATE_") for name in os.environ) else "python "
    return launcher + shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
