"""Train a PixelTransformer: `accelerate launch train_accelerate.py --preset mnist`; `--help` explains every flag."""

import math
import sys
from contextlib import nullcontext
from pathlib import Path
from signal import SIGTERM

import torch

from evaluation.against_context import markdown_table
from signals.base import Signal
from training.arguments import Arguments, parse_arguments
from training.calibration import fit_scales, split_components
from training.compiling import compiled_layers
from training.export import export, push
from training.interruption import Interruption, StoppedError
from training.losses import weighted_loss, without_gaps
from training.optimizers import apply_gradients, schedule, set_learning_rate, update_ema
from training.processes import average, end
from training.progress import Stopwatch
from training.run import Run, set_up


def train(arguments: Arguments, signal: Signal) -> Path | None:
    """Run the training that `arguments` describe on a kind of signal; returns the folder of the exported model.

    Raises:
        ValueError, OSError: naming the flag, and what to do.
        FloatingPointError: where step after step has no finite loss.
        StoppedError: after SIGINT or SIGTERM, its state saved.
    """
    run = set_up(arguments, signal)
    accelerator, model, progress, clock = run.accelerator, run.model, run.progress, Stopwatch()
    accumulate = accelerator.gradient_accumulation_steps
    model.train()
    compiled = compiled_layers() if arguments.compile else nullcontext()
    with Interruption() as interruption, compiled, run.bar:  # the bar is closed before a failure is told
        while progress.fraction(arguments) < 1:
            factor = schedule(progress.fraction(arguments), arguments.warmup, arguments.decay)
            set_learning_rate(run.optimizers, factor)
            loss = torch.zeros((), device=accelerator.device)
            for _ in range(accumulate):
                episode, whole = without_gaps(next(run.reader), run.lowest)
                with accelerator.accumulate(model):
                    output = model(**episode)
                    accelerator.backward(whole * weighted_loss(output, run.targets(episode), arguments.beta))
                loss += whole * output.loss.detach() / accumulate
            norm = accelerator.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)  # of all, on all processes
            norm = 0.0 if norm is None else float(norm)
            nats, seconds, stop = average(accelerator, loss.item(), clock.lap(), bool(interruption.number))
            applied = apply_gradients(accelerator, run.optimizers, math.isfinite(nats) and math.isfinite(norm))
            if applied:
                update_ema(run.ema, accelerator.unwrap_model(model))
            run.reader.count_step(accumulate)
            progress.advance(seconds, applied)
            run.record(nats, norm, factor, applied)
            progress.check()
            with clock.held():
                if stop or progress.fraction(arguments) >= 1 or progress.step % arguments.save_every == 0:
                    state = run.save()
                if stop:
                    end(accelerator)
                    number = interruption.number or SIGTERM  # which may have come to another process alone
                    raise StoppedError(f"stopped; {state} holds all of it, --resume latest goes on", number)
                if progress.step % arguments.validate_every == 0:
                    run.validate()
    return finish(run, clock)


def finish(run: Run, clock: Stopwatch) -> Path | None:
    """Calibrate, validate and export the averaged weights; the folder, on the main process."""
    arguments, model = run.arguments, run.ema.module
    run.journal.close()
    count, main = run.count_rows(), run.main
    if main and arguments.calibration_steps:
        print(f"fitting scales in {arguments.calibration_steps} steps")
        split_components(model, arguments.calibration_components)
        fit_scales(model, run.reader, arguments.calibration_steps, run.accelerator.autocast)
        run.progress.seconds += clock.lap()
    rows = run.validate()
    end(run.accelerator)  # what follows may take long and concerns the main process alone
    if not main:
        return None
    folder = export(model, run.signal, arguments, rows, run.progress, count)
    print(markdown_table(rows, model.config))
    print(f"exported to {folder}")
    if arguments.push_to_hub:
        push(model, arguments.hub_model_id, folder)
    return folder


def main() -> None:
    """Train as the command line says; a failure is one line on stderr and an exit code that is not 0."""
    try:
        train(*parse_arguments(sys.argv[1:]))
    except StoppedError as stopped:
        print(f"train_accelerate.py: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("train_accelerate.py: interrupted outside of training steps; nothing was saved since", file=sys.stderr)
        sys.exit(130)
    except torch.OutOfMemoryError as error:
        sys.exit(f"train_accelerate.py: out of memory; lower --token_budget, or the network's sizes ({error})")
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"train_accelerate.py: {error}")


if __name__ == "__main__":
    main()
