"""Train a model of the field: `accelerate launch -m baselines.train --model pixelcnn++ --dataset_name ylecun/mnist
--max_train_minutes 20`; `--help` explains every flag, docs/FIELD_MODELS.md the models.
"""

import math
import os
import shlex
import sys
from pathlib import Path
from signal import SIGTERM

import torch

from baselines.autoregressive.counting import CountedModel
from baselines.field.arguments import FieldArguments, parse_arguments
from baselines.field.export import export, push
from baselines.field.run import FieldRun, set_up
from signals.base import Signal
from training.interruption import Interruption, StoppedError
from training.optimizers import apply_gradients, schedule, set_learning_rate, update_ema
from training.processes import average, end
from training.progress import Stopwatch

CODES = 20_000  # training images whose codes a prior is fitted to


def train(arguments: FieldArguments, signal: Signal) -> Path | None:
    """Run the training that `arguments` describe; returns the folder of the exported model.

    Raises:
        ValueError, OSError: naming the flag, and what to do.
        FloatingPointError: where step after step has no finite loss.
        StoppedError: after SIGINT or SIGTERM, its state saved.
    """
    run, clock = set_up(arguments, signal), Stopwatch()
    if isinstance(run.ema.module, CountedModel):
        count(run)
        return finish(run)
    accelerator, model, progress = run.accelerator, run.model, run.progress
    model.train()
    with Interruption() as interruption, run.bar:
        while progress.fraction(arguments) < 1:
            factor = schedule(progress.fraction(arguments), arguments.warmup, arguments.decay)
            set_learning_rate(run.optimizers, factor)
            loss = torch.zeros((), device=accelerator.device)
            for _ in range(accelerator.gradient_accumulation_steps):
                with accelerator.accumulate(model):
                    output = model(**next(run.reader))
                    accelerator.backward(output.loss)
                loss += output.loss.detach() / accelerator.gradient_accumulation_steps
            norm = accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)
            norm = 0.0 if norm is None else float(norm)
            nats, seconds, stop = average(accelerator, loss.item(), clock.lap(), bool(interruption.number))
            applied = apply_gradients(accelerator, run.optimizers, math.isfinite(nats) and math.isfinite(norm))
            if applied:
                update_ema(run.ema, accelerator.unwrap_model(model))
            run.reader.count_step(accelerator.gradient_accumulation_steps)
            progress.advance(seconds, applied)
            run.record(nats, norm, factor, applied)
            progress.check()
            with clock.held():
                if stop or progress.fraction(arguments) >= 1 or progress.step % arguments.save_every == 0:
                    state = run.save()
                if stop:
                    end(accelerator)
                    number = interruption.number or SIGTERM
                    raise StoppedError(f"stopped; {state} holds all of it, --resume latest goes on", number)
                if progress.step % arguments.validate_every == 0:
                    run.validate()
    run.journal.close()
    return finish(run)


def count(run: FieldRun) -> None:
    """Fit a model that counts, with one pass through the training rows."""
    model = run.ema.module
    for _ in range(-(-len(run.reader.rows) // run.arguments.batch_size)):
        model.count(next(run.reader)["values"])
    model.fit()


@torch.no_grad()
def fit_prior(run: FieldRun) -> None:
    """Fit the prior of a model with a latent code to training images."""
    values = [next(run.reader)["values"] for _ in range(-(-CODES // run.arguments.batch_size))]
    run.ema.module.eval().fit_prior(torch.cat(values), torch.Generator().manual_seed(run.arguments.seed))


def finish(run: FieldRun) -> Path | None:
    """Validate and export the averaged weights; the folder, on the main process."""
    model = run.ema.module
    if getattr(model.config, "prior_components", 0):
        fit_prior(run)
    rows = [row | {"training": run.count_rows()} for row in run.validate()]
    end(run.accelerator)
    if not run.main:
        return None
    folder = export(run.ema.module, run.signal, run.arguments, rows, run.progress, command())
    print(f"exported to {folder}")
    if run.arguments.push_to_hub:
        push(run.arguments.hub_model_id, folder)
    return folder


def command() -> str:
    """The command line of this run."""
    launcher = "accelerate launch -m" if any(name.startswith("ACCELERATE_") for name in os.environ) else "python -m"
    return f"{launcher} baselines.train {shlex.join(sys.argv[1:])}"


def main() -> None:
    """Train as the command line says; a failure is one line on stderr and an exit code that is not 0."""
    try:
        train(*parse_arguments(sys.argv[1:]))
    except StoppedError as stopped:
        print(f"baselines.train: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("baselines.train: interrupted outside of training steps; nothing was saved since", file=sys.stderr)
        sys.exit(130)
    except torch.OutOfMemoryError as error:
        sys.exit(f"baselines.train: out of memory; lower --batch_size or --sizes ({error})")
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"baselines.train: {error}")


if __name__ == "__main__":
    main()
