"""Set up before the training loop: the model with its bins, the sampler of episodes, and the text for the card."""

import os
import platform
import shlex
import sys

import numpy as np
import torch

from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.head import uniform_bins
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.base import Rows, Signal
from signals.patterns import PatternMixture
from training.arguments import Arguments
from training.episodes import EpisodeSampler

BINS_FROM = 1000  # signals whose values place the bins
BINS_PAIRS = 64  # values of each


def make_model(arguments: Arguments, signal: Signal, rows: Rows) -> PixelTransformerModel:
    """The model for signals like `rows`, its bins placed on their values."""
    fields = {"axes": signal.axes, **signal.config_fields(rows)}
    if arguments.init_from is not None:
        try:
            # A checkpoint without scales or correlated channels gets new weights for them.
            wanted = {name: getattr(arguments, name) for name in ("num_scales", "correlated_channels")}
            wanted = {name: value for name, value in wanted.items() if value is not None}
            if "num_scales" in wanted:  # cells of this data are what must have halves
                wanted["native_grid"] = fields["native_grid"]
            model = PixelTransformerModel.from_pretrained(arguments.init_from, dtype=torch.float32, **wanted)
        except OSError as error:
            raise ValueError(f"--init_from: cannot load {arguments.init_from!r}: {error}") from error
        except RuntimeError as error:  # shapes that do not fit
            known = PixelTransformerConfig.from_pretrained(arguments.init_from).num_scales
            raise ValueError(
                f"--num_scales: expected {known}, as --init_from {arguments.init_from!r} has, or none with it, "
                f"got {arguments.num_scales}"
            ) from error
        known = PixelTransformerConfig.from_pretrained(arguments.init_from)
        if known.correlated_channels and not model.config.correlated_channels:
            raise ValueError(
                f"--correlated_channels: expected true or none with it, as --init_from {arguments.init_from!r} has "
                "coefficients of channels, got false"
            )
        expected = PixelTransformerConfig(signal=signal.kind, **fields)
        for name in ("signal", "position_dim", "value_dim", "value_range", "quantization_step"):
            wanted, got = getattr(expected, name), getattr(model.config, name)
            if wanted != got:
                raise ValueError(f"--init_from: expected a checkpoint with {name} {wanted}, got {got}")
        model.config.native_grid = fields["native_grid"]
        model.config.field = fields.get("field")  # names, units, scale and kernels are those of the new values
        model.config.step_losses = None  # measured of other weights
        check_axes(signal, model)
        return model
    sizes = ("hidden_size", "num_encoder_layers", "num_decoder_layers", "num_attention_heads", "intermediate_size")
    sizes += ("num_bins", "num_scales", "correlated_channels")
    chosen = {name: getattr(arguments, name) for name in sizes if getattr(arguments, name) is not None}
    if arguments.architecture == "default":
        chosen = {"correlated_channels": fields.get("value_dim", 1) > 1} | chosen
    make = PixelTransformerConfig
    if arguments.architecture == "paper":
        make = PixelTransformerConfig.paper
        # What the publication fixes is not the signal's to choose.
        fields = {name: fields[name] for name in fields if name not in ("num_bins", "value_bandwidth")}
    model = PixelTransformerModel(make(signal=signal.kind, **{**fields, **chosen}))
    check_axes(signal, model)
    if arguments.bins == "kmeans" and model.config.num_bins > 1:
        values = signal.pairs(signal.collate(rows.first(BINS_FROM)), BINS_PAIRS, _generator(arguments.seed))[1]
        model.set_bins(kmeans_bins(values, model.config, arguments.seed))
    return model


def check_axes(signal: Signal, model: PixelTransformerModel) -> None:
    """Raise `ValueError` unless the signal and the model list the cells of a grid in the same order."""
    grid = model.config.native_grid
    if not torch.allclose(signal.positions(grid).cpu(), model.native_positions()[0].cpu(), atol=1e-5):
        raise ValueError(
            f"--kind: expected positions of a {signal.kind} with the axes {model.config.axes_slowest_first}, slowest "
            'first, got other ones; its config_fields must hold their order as "axes"'
        )


def make_sampler(arguments: Arguments, signal: Signal, config: PixelTransformerConfig) -> EpisodeSampler:
    """What draws the sizes of each step, as the flags say, for a model of this config."""
    cells = signal.num_cells({"native_grid": config.native_grid}) if arguments.continuous_probability < 1 else 0
    return EpisodeSampler(
        seed=arguments.seed,
        max_context=arguments.max_context,
        buffer=arguments.buffer_size,
        queries=arguments.max_queries,
        token_budget=arguments.token_budget,
        num_cells=cells,
        zero_probability=arguments.zero_probability,
        block_probability=arguments.block_probability,
        long_buffer_probability=arguments.long_buffer_probability,
        continuous_probability=arguments.continuous_probability,
        grid=tuple(config.native_grid),
        num_scales=config.num_scales,
        levels=config.levels,
        chain_probability=arguments.chain_probability,
        average_probability=arguments.average_probability,
        query_share=arguments.query_share,
        patterns=PatternMixture(arguments.pattern_probability, signal.families)
        if arguments.pattern_probability
        else None,
    )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kmeans_bins(values: torch.Tensor, config: PixelTransformerConfig, seed: int, count: int = 50_000) -> torch.Tensor:
    """k-means centres (num_bins, V) of values (…, V), sorted by brightness; uniform where there are too few values."""
    flat = values.reshape(-1, config.value_dim).numpy()
    flat = flat[np.random.default_rng(seed).permutation(len(flat))[:count]]
    distinct = np.unique(flat, axis=0)
    if len(distinct) < config.num_bins:
        return uniform_bins(config)
    from sklearn.cluster import KMeans  # slow to import, and neither --init_from nor uniform bins need it

    centers = KMeans(config.num_bins, n_init=1, random_state=seed).fit(flat).cluster_centers_
    return torch.from_numpy(centers[centers.sum(1).argsort()]).float()


def num_cores() -> int:
    """CPU cores that this process may use, which may be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """The hardware and the versions that a run depends on, in one line."""
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}"
    else:
        device = f"{num_cores()} CPU core{'s' * (num_cores() > 1)} ({platform.machine()})"
    return f"{device}, torch {torch.__version__.split('+')[0]}"


def command() -> str:
    """The command line of this run."""
    launcher = "accelerate launch " if any(name.startswith("ACCELERATE_") for name in os.environ) else "python "
    return launcher + shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
