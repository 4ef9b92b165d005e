"""The flags of `train_accelerate.py`: one dataclass, used with that of the signal. Presets are JSON files of flags."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from accelerate.tracking import get_available_trackers
from transformers import HfArgumentParser

from signals import Signal, find, kinds
from signals.base import flag, flags

PRESETS = Path(__file__).parent.parent / "presets"


@dataclass
class Arguments:
    """Train a PixelTransformer."""

    output_dir: str = flag("Folder for training states, logged pictures and the exported model (in `export`).")
    kind: str = flag(
        f"Kind of signal ({', '.join(kinds())}), or a Python file that defines one; each has flags of its own, which "
        "--help shows with it.",
        "image",
    )
    preset: str | None = flag("Name of a file in presets/, or a JSON file, whose fields replace these defaults.")

    architecture: Literal["default", "paper"] = flag("Network: ours, or the published one with its sizes.", "default")
    hidden_size: int | None = flag("Width of the network; default: the architecture's.")
    num_encoder_layers: int | None = flag("Encoder layers; default: the architecture's.")
    num_decoder_layers: int | None = flag("Decoder layers; default: the architecture's.")
    num_attention_heads: int | None = flag("Attention heads; default: the architecture's.")
    intermediate_size: int | None = flag("Width of the feed-forward layers; default: the architecture's.")
    num_bins: int | None = flag("Components of the value distribution; default: the architecture's.")
    bins: Literal["kmeans", "uniform"] = flag("Bin centres: k-means of training values, or spread evenly.", "kmeans")
    correlated_channels: bool | None = flag(
        "Components whose channels depend on each other; default: for values of several channels, or as in --init_from."
    )
    init_from: str | None = flag("Checkpoint folder or Hub name whose weights training starts from.")

    num_scales: int | None = flag(
        "Scales that the model knows: averages over 1, 2, 4, … cells along each axis; default: 1 scale, or those of "
        "--init_from."
    )
    chain_probability: float = flag(
        "Share of steps that learn the cells of one scale given all of a coarser one, or none.", 0.35
    )
    average_probability: float = flag(
        "Share of steps with averages over areas of any size among context and queries.", 0.15, "--dab_probability"
    )
    continuous_probability: float = flag(
        "Share of steps at continuous positions, looked up linearly between cells (the paper's way); the others see "
        "different cells of the signal's grid.",
        0.0,
    )
    pattern_probability: float = flag(
        "Share of signals whose context is a pattern (half-spaces, boxes, strokes, …), not random positions.", 0.6
    )
    query_share: float = flag("Queries of a signal are at least this share of K.", 0.25)
    max_context: int = flag("Largest number of observed positions K; K is log-uniform from 1, and sometimes 0.", 512)
    buffer_size: int = flag("Values after the context in causal order, each scored given all before it (M).", 64)
    max_queries: int = flag("Queries that see the context alone (Q).", 64)
    zero_probability: float = flag(
        "Share of steps with K = 0; at least 0.3 of chains and of steps with longer buffers.", 0.05
    )
    block_probability: float = flag("Share of steps whose buffer comes in blocks of more than one.", 0.25)
    long_buffer_probability: float = flag("Share of steps whose buffer is longer, up to --max_context.", 0.05)
    token_budget: int = flag("Most tokens and queries (K + 2 M + Q per signal) of a step on one device.", 4096)

    max_train_steps: int | None = flag("Stop after this many optimiser steps.")
    max_train_minutes: float | None = flag("Stop after this many minutes of training; the schedule follows the clock.")
    optimizer: Literal["muon", "adamw"] = flag(
        "Muon for the matrices of the layers, AdamW for the rest; or AdamW.", "muon"
    )
    learning_rate: float = flag("Peak rate of Muon.", 3e-3)
    adam_learning_rate: float = flag("Peak rate of AdamW.", 2e-3)
    weight_decay: float = flag("Decoupled weight decay of matrices.", 0.01)
    warmup: float = flag("Share of training in which the rate rises.", 0.02)
    decay: Literal["linear", "cosine"] = flag("How the rate falls to 0 after that.", "linear")
    gradient_accumulation_steps: int = flag("Batches per optimiser step.", 1)
    max_grad_norm: float = flag("Gradients are scaled down to this norm.", 1.0)
    ema_decay: float = flag("Decay of the running average of the weights, used for validation and export.", 0.999)
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = flag(
        "Dtype of matrix products in training; auto: bf16 where the hardware multiplies it, else no (float32).", "auto"
    )
    compile: bool = flag(
        "Compile what lies between matrix products: a minute at the start, then up to a third less time a step, most "
        "for wide networks. Needs a C++ compiler on CPUs.",
        False,
    )
    beta: float = flag(
        "Power of a value's predicted variance that weights its loss (β-NLL): 0 is the likelihood; with 0.5 the means "
        "of uncertain values count for more.",
        0.0,
    )
    calibration_steps: int = flag(
        "Steps at the end that fit only the predicted standard deviations, to the running average of the weights.", 0
    )
    calibration_components: int = flag(
        "Components of one mean that each becomes before these steps: 2 where errors have heavier tails than a "
        "Gaussian.",
        1,
    )
    seed: int = flag("Seed of weights, data order and positions.", 0)
    num_workers: int = flag(
        "Processes that read signals, each with a cache of its own; 0: the training process does.", 0
    )

    validate_every: int = flag("Optimiser steps between two validations.", 500)
    validation_contexts: list[int] = flags("Context sizes K that are validated.", [0, 4, 16, 64, 256])
    validation_images: int = flag("Most validation signals that are used during training.", 256)
    save_every: int = flag("Optimiser steps between two training states.", 500)
    max_checkpoints: int = flag("Training states kept on disk.", 2)
    resume: str | None = flag('"latest", or the folder of a training state, to go on from.')
    overwrite: bool = flag("Delete the training states and the log of another run in --output_dir.", False)
    report_to: str = flag('Tracker that accelerate knows ("tensorboard", "wandb", …), or "none".', "tensorboard")

    data_note: str | None = flag("A sentence about the data for the model card.")
    push_to_hub: bool = flag("Upload the exported model when done.", False)
    hub_model_id: str | None = flag("Repository to upload to.")

    def check(self) -> None:
        """Raise `ValueError` for values and combinations that cannot work, before any work starts."""

        def expect(ok: bool, name: str, expected: str) -> None:
            if not ok:
                raise ValueError(f"--{name}: expected {expected}, got {getattr(self, name)!r}")

        expect(bool(self.output_dir), "output_dir", "a folder")
        expect(self.num_scales is None or self.num_scales >= 1, "num_scales", "a number of at least 1")
        expect(
            self.chain_probability + self.average_probability <= 1,
            "chain_probability",
            f"at most 1 together with --average_probability ({self.average_probability})",
        )
        expect(
            self.max_train_steps is not None or self.max_train_minutes is not None,
            "max_train_steps",
            "this or --max_train_minutes",
        )
        positive = "max_train_steps max_train_minutes learning_rate adam_learning_rate max_grad_norm"
        counts = "max_queries validate_every validation_images save_every max_checkpoints calibration_components"
        for name in f"{positive} {counts} gradient_accumulation_steps max_context".split():
            value = getattr(self, name)
            expect(value is None or value > 0, name, "a number above 0")
        for name in ("buffer_size", "weight_decay", "num_workers", "calibration_steps"):
            expect(getattr(self, name) >= 0, name, "a number of at least 0")
        shares = "zero_probability block_probability long_buffer_probability continuous_probability warmup ema_decay"
        for name in f"{shares} chain_probability average_probability pattern_probability query_share beta".split():
            expect(0 <= getattr(self, name) <= 1, name, "a number from 0 to 1")
        queries = max(self.max_queries, round(self.query_share * self.max_context))
        needed = self.max_context + 2 * self.buffer_size + queries
        expect(
            self.token_budget >= needed,
            "token_budget",
            f"at least --max_context + 2 × --buffer_size + queries ({needed}; see --max_queries and --query_share), so "
            "that one signal fits",
        )
        expect(min(self.validation_contexts, default=-1) >= 0, "validation_contexts", "numbers of at least 0")
        expect(
            self.calibration_components == 1 or self.calibration_steps > 0,
            "calibration_components",
            "1 without --calibration_steps",
        )
        expect(
            not (self.overwrite and self.resume == "latest"),
            "overwrite",
            "false with --resume latest, which goes on with what it would delete",
        )
        self._check_network(expect)
        self._check_output(expect)

    def _check_output(self, expect: Callable[[bool, str, str], None]) -> None:
        expect(not self.push_to_hub or bool(self.hub_model_id), "hub_model_id", "a repository with --push_to_hub")
        expect(
            not (self.mixed_precision == "fp16" and self.optimizer == "muon"),
            "mixed_precision",
            "auto, bf16 or no with --optimizer muon (two optimisers cannot share a gradient scaler)",
        )
        trackers = [tracker.value for tracker in get_available_trackers()]
        expect(
            self.report_to in ("none", *trackers),
            "report_to",
            f'"none" or a tracker that is installed ({", ".join(trackers)})',
        )

    def _check_network(self, expect: Callable[[bool, str, str], None]) -> None:
        sizes = "hidden_size num_encoder_layers num_decoder_layers num_attention_heads intermediate_size num_bins"
        chosen = [f"--{name}" for name in sizes.split() if getattr(self, name) is not None]
        expect(
            self.init_from is None or not (chosen or self.architecture != "default"),
            "init_from",
            f"no {', '.join(chosen) or '--architecture'} with it, as the network comes with the checkpoint",
        )


def parse_arguments(argv: list[str]) -> tuple[Arguments, Signal]:
    """Arguments and signal from the command line, over those of a preset, over the defaults.

    Raises:
        ValueError: naming the flag or the preset's field.
    """
    first = HfArgumentParser(Arguments, add_help=False, allow_abbrev=False)
    preset = first.parse_known_args(argv)[0].preset
    if preset is not None:  # its fields pass through the parser like flags, so that they are checked like flags
        argv = [*preset_flags(read_preset(preset)), *argv]
    kind = find(first.parse_known_args(argv)[0].kind)
    check_preset(preset, kind)
    parser = HfArgumentParser(
        (Arguments, kind), allow_abbrev=False, description=f"Train a PixelTransformer on {kind.plural}."
    )
    try:
        arguments, signal = parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise ValueError(str(error).replace("Some specified arguments are not used", "unknown flags")) from error
    arguments.check()
    return arguments, signal


def read_preset(name: str) -> dict:
    """Fields of a preset: a name in presets/ or the path of a JSON file."""
    path = Path(name) if name.endswith(".json") else PRESETS / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.json")))
        raise ValueError(f"--preset: expected one of {known}, or a JSON file; {path} does not exist")
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"--preset: {path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"--preset: {path}: expected an object with the names of flags, got {type(values).__name__}")
    return values


def check_preset(name: str | None, kind: type[Signal]) -> None:
    """Raise `ValueError` for fields of a preset that neither the training nor the signal knows."""
    known = {entry.name for entry in (*fields(Arguments), *fields(kind))}
    unknown = set() if name is None else set(read_preset(name)) - known
    if unknown:
        raise ValueError(f"--preset: {name} has fields unknown to {kind.kind}s: {', '.join(sorted(unknown))}")


def preset_flags(values: dict) -> list[str]:
    """The fields of a preset as a command line."""
    flags = []
    for name, value in values.items():
        if value is None:
            continue
        flags += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return flags
