"""How good the running average is on held-out signals, in numbers and in a picture."""

from pathlib import Path

import numpy as np
from accelerate import Accelerator

from evaluation.against_context import marginals_against_context
from signals.base import Signal
from training.arguments import Arguments
from training.pictures import sample_sheet


def validate(
    accelerator: Accelerator, model, signal: Signal, rows: list, arguments: Arguments, step: int
) -> list[dict]:
    """NLL and RMSE against K on held-out signals, logged together with a picture of means and samples."""
    model.eval()
    scores = marginals_against_context(model, signal, rows, arguments.validation_contexts)
    logged = {f"validation/nats_K{row['context']}": row["nats"] for row in scores}
    logged |= {f"validation/rmse_K{row['context']}": row["rmse"] for row in scores}
    accelerator.log(logged, step=step)
    native = [row for row in rows if signal.is_native(row, model.config.native_grid)][:8]
    if not native:  # of many sizes, none is the first training signal's
        return scores
    picture = sample_sheet(model, signal, signal.collate(native), arguments.validation_contexts)
    folder = Path(arguments.output_dir) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / f"step-{step:07d}.png")
    image = {"validation/mean and sample": np.asarray(picture.convert("RGB"))[None]}  # (1, y, x, 3)
    for tracker in accelerator.trackers:
        if hasattr(tracker, "log_images"):
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images(image, step=step, **layout)
    return scores
