"""One training of a model of the field: data, model and the parts that it shares with `train_accelerate.py`."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from baselines.autoregressive import MODELS
from baselines.autoregressive.base import AutoregressiveModel
from baselines.autoregressive.configuration import FieldConfig
from baselines.autoregressive.rows import RasterImageModel
from baselines.field.arguments import FieldArguments
from signals.base import BadRowError, Rows, Signal, to_device
from training.optimizers import make_ema, make_optimizers
from training.processes import Patience, make_accelerator
from training.reading import Reader
from training.run import Run, facts_of, start
from training.states import claim_output, find_state


@dataclass
class FixedSize:
    """The size of every batch, in the form that the shared reader asks for."""

    seed: int
    signals: int
    num_scales: int = 1

    def sizes(self, number: int) -> "FixedSize":
        return self


class ValueReader(Reader):
    """An endless iterator of {"values": (B, D, V), "generator": …}, from whole signals on the model's grid."""

    grid: list[int]

    def __next__(self) -> dict[str, Any]:
        if self._batches is None:
            self._batches, self._number = self._open(), self.batch + self.rank
        batch = next(self._batches)
        if isinstance(batch, BadRowError):
            raise batch
        number, self._number = self._number, self._number + self.world_size
        noise = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        batch = self.signal.augment(batch, noise)
        values = self.signal.grid_values(to_device(batch, self.device), self.grid)
        return {"values": values, "generator": noise}


@dataclass
class FieldRun(Run):
    """One training; validation is the mean nats of held-out signals."""

    def validate(self) -> list[dict]:
        """Nats and bits of held-out signals on the main process, while the others wait."""
        rows: list[dict] = []
        if self.main:
            model, config = self.ema.module, self.ema.module.config
            nats = mean_nats(model, self.signal, self.held_out)
            bits = nats / torch.log(torch.tensor(2.0)).item() / (config.num_cells * config.value_dim)
            rows = [{"signals": len(self.held_out), "nats": nats, "bits": bits}]
            self.accelerator.log({"validation/nats": nats, "validation/bits": bits}, step=self.progress.step)
            minutes = self.progress.seconds / 60
            say = print if self.bar is None else self.bar.write
            say(f"step {self.progress.step}, {minutes:.1f} min: {nats:.2f} nats, {bits:.4f} bits per dimension")
        self.patience.meet()
        return rows


@torch.no_grad()
def mean_nats(model: AutoregressiveModel, signal: Signal, rows: list[Tensor]) -> float:
    """Mean nats of signals as training measures them, with fixed noise; a bound where there is no likelihood."""
    model.eval()
    generator, total = torch.Generator().manual_seed(0), 0.0
    for first in range(0, len(rows), 32):
        part = rows[first : first + 32]
        values = signal.grid_values(signal.collate(part), list(model.config.native_grid)).to(model.device)
        total -= model(values, generator=generator).log_prob.double().sum().item()
    return total / len(rows)


def model_fields(signal: Signal, rows: Rows) -> dict[str, Any]:
    """Fields of a model's config that the data decide."""
    fields = signal.config_fields(rows)
    step = fields.get("quantization_step", 1 / 255)
    levels = None if fields.get("value_range", ()) is None else round(1 / step) + 1
    return {"native_grid": list(fields["native_grid"]), "value_dim": fields["value_dim"], "num_levels": levels}


def make_model(arguments: FieldArguments, fields: dict[str, Any]) -> AutoregressiveModel:
    """A new model for the data.

    Raises:
        ValueError: where it cannot model them, naming the flag that leads to data that it can.
    """
    own = {field.name for field in dataclasses.fields(FieldConfig)}
    sizes = {name: value for name, value in arguments.chosen_sizes().items() if name not in own}
    try:
        return MODELS[arguments.model].make(**fields, **sizes)
    except ValueError as error:
        reason = str(error).split("\n")[0]
        hints = {"num_levels": "--binarise", "value_dim": "--channels", "native_grid": "--image_size"}
        hint = hints.get(reason.split(":")[0], "--sizes")
        raise ValueError(f"{hint}: the data do not suit --model {arguments.model}: {reason}") from error


def inner_weights(model: AutoregressiveModel, arguments: FieldArguments) -> dict[nn.Parameter, int]:
    """What Muon may train: weights of layers and convolutions that neither read values nor make a head's numbers.

    Raises:
        ValueError: where Muon is asked for and there are none.
    """
    found: dict[nn.Parameter, int] = {}
    numbers = model.head.size if hasattr(model, "head") else 1
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            outputs, inputs = module.weight.shape[:2]
            if inputs > model.config.value_dim + 1 and outputs != numbers:
                found[module.weight] = 1
    if arguments.optimizer == "muon" and not found:
        raise ValueError(f"--optimizer: expected adamw for {arguments.model}, whose weights do not suit Muon, got muon")
    return found


def compile_network(model: AutoregressiveModel, arguments: FieldArguments) -> None:
    """Compile what all steps run alike.

    Raises:
        ValueError: for models that have no such part.
    """
    if not isinstance(model, RasterImageModel):
        raise ValueError(f"--compile: expected false for {arguments.model}, whose passes differ from step to step")
    model.network.compile()


def set_up(arguments: FieldArguments, signal: Signal) -> FieldRun:
    """Make a run ready: from its start or, with `--resume`, from a state.

    Raises:
        ValueError, OSError: naming the flag, and what to do.
    """
    accelerator = make_accelerator(arguments)
    patience = Patience(accelerator)
    resumed = None
    if arguments.resume is not None:
        resumed = find_state(arguments.resume, arguments.output_dir, accelerator.print)
    if accelerator.is_main_process:
        claim_output(arguments.output_dir, resumed, arguments.overwrite)
    with patience.main_first():
        rows, validation = signal.load(arguments.seed)
    fields = model_fields(signal, rows)
    model = make_model(arguments, fields)
    trained = any(parameter.requires_grad for parameter in model.parameters())
    optimizers = make_optimizers(model, arguments, inner_weights(model, arguments)) if trained else []
    ema = make_ema(model, arguments.ema_decay).to(accelerator.device)
    if arguments.compile:
        compile_network(model, arguments)
    sampler = FixedSize(arguments.seed, arguments.batch_size)
    place = accelerator.process_index, accelerator.num_processes
    reader = ValueReader(
        signal, rows, sampler, accelerator.device, *place, arguments.seed, num_workers=arguments.num_workers
    )
    reader.grid = fields["native_grid"]
    if trained:
        model, *optimizers = accelerator.prepare(model, *optimizers)
    facts = facts_of(arguments, signal, rows, fields)
    facts["dataset_name"] |= {"levels": fields["num_levels"]}
    facts["model"] = arguments.model
    held_out = validation.first(arguments.validation_images)
    run = FieldRun(arguments, signal, accelerator, patience, model, optimizers, ema, reader, held_out, facts)
    if trained:
        start(run, resumed)
    return run
