"""The flags of `baselines.train`: one dataclass, used with that of the signal. Names and meanings as in training."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from transformers import HfArgumentParser

from baselines.autoregressive import MODELS
from signals import Signal, find
from signals.base import flag


@dataclass
class FieldArguments:
    """Train an autoregressive model of the field."""

    model: str = flag(f"One of {', '.join(MODELS)}.")
    output_dir: str | None = flag(
        "Folder for training states, the log and the exported model; default: runs/field/MODEL."
    )
    sizes: str | None = flag("Sizes that differ from the model's own, as JSON: '{\"hidden_size\": 64}'.")

    batch_size: int | None = flag("Images or curves of a step on one device; default: the model's.")
    max_train_steps: int | None = flag("Stop after this many optimiser steps.")
    max_train_minutes: float | None = flag("Stop after this many minutes of training; the schedule follows the clock.")
    optimizer: Literal["auto", "muon", "adamw"] = flag(
        "Muon for the weights between first and last layer, AdamW for the rest; or AdamW; auto: what suits the model.",
        "auto",
    )
    learning_rate: float | None = flag("Peak rate of Muon; default: the model's.")
    adam_learning_rate: float | None = flag("Peak rate of AdamW; default: the model's.")
    weight_decay: float = flag("Decoupled weight decay of matrices.", 1e-4)
    warmup: float = flag("Share of training in which the rate rises.", 0.02)
    decay: Literal["linear", "cosine"] = flag("How the rate falls to 0 after that.", "linear")
    gradient_accumulation_steps: int = flag("Batches per optimiser step.", 1)
    max_grad_norm: float = flag("Gradients are scaled down to this norm.", 1.0)
    ema_decay: float = flag("Decay of the running average of the weights, used for validation and export.", 0.999)
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = flag(
        "Dtype of matrix products in training; auto: bf16 where the hardware multiplies it, else no (float32).", "auto"
    )
    compile: bool = flag(
        "Compile the networks of models that read images in raster order: Gated PixelCNN's steps take two thirds of "
        "the time, after a minute. Needs a C++ compiler on CPUs.",
        False,
    )
    seed: int = flag("Seed of weights, data order and noise.", 0)
    num_workers: int = flag("Processes that read signals; 0: the training process does.", 0)

    validate_every: int = flag("Optimiser steps between two validations.", 500)
    validation_images: int = flag("Most validation signals that are used during training.", 256)
    save_every: int = flag("Optimiser steps between two training states.", 500)
    max_checkpoints: int = flag("Training states kept on disk.", 1)
    resume: str | None = flag('"latest", or the folder of a training state, to go on from.')
    overwrite: bool = flag("Delete the training states and the log of another run in --output_dir.", False)
    report_to: str = flag('Tracker that accelerate knows ("tensorboard", "wandb", …), or "none".', "none")
    data_note: str | None = flag("A sentence about the data for the model card.")
    push_to_hub: bool = flag("Upload the exported model when done.", False)
    hub_model_id: str | None = flag("Repository to upload to.")

    def __post_init__(self):
        if self.output_dir is None and self.model:
            self.output_dir = f"runs/field/{self.model}"

    def check(self) -> None:
        """Raise `ValueError` for values that cannot work, before any work starts; fill in what the model decides."""

        def expect(ok: bool, name: str, expected: str) -> None:
            if not ok:
                raise ValueError(f"--{name}: expected {expected}, got {getattr(self, name)!r}")

        expect(self.model in MODELS, "model", f"one of {', '.join(MODELS)}")
        counted = MODELS[self.model].file == "counting"
        expect(
            counted or self.max_train_steps is not None or self.max_train_minutes is not None,
            "max_train_steps",
            "this or --max_train_minutes",
        )
        counts = (
            "max_train_steps max_train_minutes batch_size validate_every validation_images save_every max_checkpoints"
        )
        for name in f"{counts} learning_rate adam_learning_rate gradient_accumulation_steps max_grad_norm".split():
            value = getattr(self, name)
            expect(value is None or value > 0, name, "a number above 0")
        for name in ("warmup", "ema_decay"):
            expect(0 <= getattr(self, name) <= 1, name, "a number from 0 to 1")
        for name in ("weight_decay", "num_workers"):
            expect(getattr(self, name) >= 0, name, "a number of at least 0")
        expect(
            not (self.overwrite and self.resume == "latest"),
            "overwrite",
            "false with --resume latest, which goes on with what it would delete",
        )
        expect(not self.push_to_hub or bool(self.hub_model_id), "hub_model_id", "a repository with --push_to_hub")
        if self.batch_size is None:
            self.batch_size = MODELS[self.model].batch
        self._choose_optimizer(expect)
        self.chosen_sizes()

    def _choose_optimizer(self, expect: Callable[[bool, str, str], None]) -> None:
        entry = MODELS[self.model]
        if self.optimizer == "auto":
            self.optimizer = "adamw" if entry.muon is None else "muon"
        muon = self.optimizer == "muon"
        expect(
            muon or self.learning_rate is None,
            "learning_rate",
            f"--optimizer muon for {self.model} (AdamW's rate is --adam_learning_rate)",
        )
        if muon and self.learning_rate is None:
            self.learning_rate = entry.muon or entry.rate
        if self.adam_learning_rate is None:
            self.adam_learning_rate = entry.rate

    def chosen_sizes(self) -> dict:
        """The model's sizes that `--sizes` gives.

        Raises:
            ValueError: for what is no JSON object of fields of the model's config.
        """
        if self.sizes is None:
            return {}
        own = MODELS[self.model].model.config_class.__annotations__
        try:
            found = json.loads(self.sizes)
        except json.JSONDecodeError as error:
            raise ValueError(f"--sizes: expected JSON, got {self.sizes!r}: {error}") from error
        if not isinstance(found, dict) or set(found) - set(own):
            raise ValueError(f"--sizes: expected an object with some of {', '.join(own)}, got {self.sizes!r}")
        return found


def parse_arguments(argv: list[str]) -> tuple[FieldArguments, Signal]:
    """Arguments and signal from the command line.

    Raises:
        ValueError: naming the flag.
    """
    given = HfArgumentParser(FieldArguments, add_help=False, allow_abbrev=False).parse_known_args(argv)[0].model
    curves = given in MODELS and MODELS[given].curves
    kind = find("polynomial" if curves else "image")
    parser = HfArgumentParser(
        (FieldArguments, kind), allow_abbrev=False, prog="python -m baselines.train", description=FieldArguments.__doc__
    )
    try:
        arguments, signal = parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise ValueError(str(error).replace("Some specified arguments are not used", "unknown flags")) from error
    arguments.check()
    return arguments, signal
