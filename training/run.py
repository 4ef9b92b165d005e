"""The parts of one training, set up for its loop."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from evaluation.against_context import one_line
from signals.base import Rows, Signal
from training.arguments import Arguments
from training.episodes import mix_seed
from training.exact import exact_targets
from training.journal import Journal
from training.optimizers import make_ema, make_optimizers, matrices_of_layers, set_peaks
from training.processes import Patience, average, make_accelerator
from training.progress import Progress
from training.reading import Reader
from training.setup import make_model, make_sampler
from training.states import Parts, claim_output, clear_output, find_state, load_state, save_state
from training.validation import validate

LOG_EVERY = 20  # optimiser steps between two lines of the tracker


@dataclass
class Run:
    """One training: its arguments, data, model and progress.

    Attributes:
        model: The model as wrapped by accelerate; `ema.module` is the plain model with averaged weights.
        held_out (`list`): Validation signals as stored.
        own_states (`list[Path]`): Training states that this run wrote or resumed from.
    """

    arguments: Arguments
    signal: Signal
    accelerator: Accelerator
    patience: Patience
    model: torch.nn.Module
    optimizers: list
    ema: AveragedModel
    reader: Reader
    held_out: list
    facts: dict
    progress: Progress = field(default_factory=Progress)
    own_states: list[Path] = field(default_factory=list)
    journal: Journal | None = None
    bar: tqdm | None = None

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def lowest(self) -> float:
        """A value that every signal may have."""
        bounds = self.ema.module.config.value_range
        return 0.0 if bounds is None else bounds[0]

    def targets(self, episode: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the episode's queries and buffer learn: their values or, where it is known, the exact posterior."""
        if self.signal.posterior is None:
            return episode
        generator = torch.Generator(self.accelerator.device)
        generator.manual_seed(mix_seed(self.arguments.seed, 0, self.reader.latest))  # of two processes as of one
        return exact_targets(self.signal.posterior, episode, generator)

    def parts(self) -> Parts:
        """Contents of a training state."""
        streamed = self.reader.rows.stream is not None
        return Parts(self.ema, self.progress, self.reader, streamed, self.facts)

    def save(self) -> Path:
        """Write a training state."""
        arguments = self.arguments
        return save_state(
            self.accelerator, arguments.output_dir, self.parts(), self.own_states, arguments.max_checkpoints
        )

    def validate(self) -> list[dict]:
        """Validation scores on the main process, while the others wait; an empty list on the others."""
        rows: list[dict] = []
        if self.main:
            step = self.progress.step
            rows = validate(self.accelerator, self.ema.module, self.signal, self.held_out, self.arguments, step)
            self.bar.write(
                f"step {step}, {self.progress.seconds / 60:.1f} min: {one_line(rows, self.ema.module.config)}"
            )
        self.patience.meet()
        return rows

    def record(self, nats: float, norm: float, factor: float, applied: bool) -> None:
        """Journal, progress bar and tracker after a step."""
        progress = self.progress
        self.journal.write(progress.step, nats, factor, skipped=not applied)
        if not applied and self.main:
            self.bar.write(f"step {progress.step}: loss {nats:g}, gradient norm {norm:g}: left out, the weights stay")
        self.bar.update()
        if progress.step % LOG_EVERY == 0:
            logged = {"nats_per_value": nats, "rate": factor, "skipped": progress.skipped}
            self.accelerator.log({f"train/{name}": value for name, value in logged.items()}, step=progress.step)
            self.bar.set_postfix(nats=f"{nats:.3f}", done=f"{progress.fraction(self.arguments):.0%}")

    def count_rows(self) -> int:
        """Training rows of all processes: of a stream, those that were read."""
        rows = self.reader.rows
        if rows.stream is None:
            return len(rows)
        return round(average(self.accelerator, len(rows))[0] * self.accelerator.num_processes)


def set_up(arguments: Arguments, signal: Signal) -> Run:
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
    fields = signal.config_fields(rows)
    check_contexts(arguments, signal, fields)
    model = make_model(arguments, signal, rows)
    held_out = validation.first(arguments.validation_images)
    if model.config.num_scales > 1:  # signals that have no such pyramid are named before the training starts
        signal.pyramid(signal.collate(held_out[:1]), model.config.num_scales)
        # Steps without scales leave their embeddings alone.
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    optimizers = make_optimizers(model, arguments, matrices_of_layers(model))
    ema = make_ema(model, arguments.ema_decay).to(accelerator.device)
    reader = Reader(
        signal,
        rows,
        make_sampler(arguments, signal, model.config),
        accelerator.device,
        accelerator.process_index,
        accelerator.num_processes,
        arguments.seed,
        arguments.num_workers,
    )
    model, *optimizers = accelerator.prepare(model, *optimizers)
    run = Run(
        arguments,
        signal,
        accelerator,
        patience,
        model,
        optimizers,
        ema,
        reader,
        held_out,
        facts_of(arguments, signal, rows, fields),
    )
    start(run, resumed)
    return run


def start(run: Run, resumed: Path | None) -> None:
    """Load the state that is resumed, make room for the run's own, and open its logs."""
    arguments, accelerator = run.arguments, run.accelerator
    if resumed is not None:
        load_state(accelerator, resumed, run.parts())
        set_peaks(run.optimizers, arguments)  # the flags of this run, not those of the one that is resumed
        accelerator.print(f"resumed at step {run.progress.step} from {resumed}")
    if run.main:
        run.own_states = clear_output(arguments.output_dir, resumed, arguments.overwrite)
        if arguments.report_to != "none":
            accelerator.init_trackers(
                "log", {k: v for k, v in vars(arguments).items() if isinstance(v, int | float | str)}
            )
        sampler = run.reader.sampler
        if sampler.num_scales > 1 and not sampler.fits(1):
            print(
                f"--token_budget: {sampler.token_budget:,} does not hold the {sampler.cells_of(1):,} cells of scale 1; "
                "pixels are trained given coarser scales alone"
            )
    run.journal = Journal(Path(arguments.output_dir) if run.main else None, run.progress.step)
    run.bar = tqdm(total=arguments.max_train_steps, initial=run.progress.step, disable=not run.main)


def check_contexts(arguments: Arguments, signal: Signal, fields: dict) -> None:
    """Raise `ValueError` for a validation context that leaves no cell of a signal unobserved."""
    num_cells, largest = signal.num_cells(fields), max(arguments.validation_contexts, default=0)
    if num_cells and largest >= num_cells:
        raise ValueError(
            f"--validation_contexts: expected numbers below the {num_cells} cells of {signal.plural}, got {largest}"
        )


def facts_of(arguments: Arguments, signal: Signal, rows: Rows, fields: dict) -> dict:
    """What a resumed run must share with the one before, by the flag that decides it.

    The seed decides which rows are held out, so that with another one the validation signals would be trained on.
    """
    names = ("native_grid", "value_dim", "value_range", "quantization_step")
    values = {name: fields[name] for name in names if name in fields}
    count = {} if rows.stream is not None else {"training rows": len(rows)}
    return {"kind": signal.kind, "seed": arguments.seed, "dataset_name": values | count}
