"""Train with `transformers.Trainer`: `python -m examples.train_with_trainer path/to/images runs/mine --max_steps 1000`.

The model takes what a collator makes of images: a random context and random queries. Without `label_names` the Trainer
knows the evaluation loss alone; with it `predict` returns the mean and log-likelihood at each query and the true value,
and `compute_metrics` receives them. `train_accelerate.py` trains better models, as it draws contexts of many sizes and
a causal buffer; this file shows how the model fits into a pipeline that has a Trainer already.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction, Trainer, TrainingArguments

from pixeltransformer.configuration_pixeltransformer import PixelTransformerConfig
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from signals.image import Images


@dataclass
class Observe:
    """Collator: of each image `context` random pixels are observed and `queries` others asked for."""

    signal: Images
    context: int = 64
    queries: int = 64

    def __call__(self, images: list[Tensor]) -> dict[str, Tensor]:
        positions, values = self.signal.pairs(self.signal.collate(images), self.context + self.queries)
        known, asked = slice(self.context), slice(self.context, None)
        return {
            "context_positions": positions[:, known],
            "context_values": values[:, known],
            "query_positions": positions[:, asked],
            "query_values": values[:, asked],
        }


def metrics(evaluated: EvalPrediction) -> dict[str, float]:
    """Bits per dimension and root mean squared error of the mean."""
    (mean, log_prob), truth = evaluated.predictions, evaluated.label_ids
    bits = -log_prob.mean() / (truth.shape[-1] * math.log(2))
    return {"bits": float(bits), "rmse": float(np.sqrt(np.square(mean - truth).mean()))}


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="a folder of images or the name of a Hub dataset")
    parser.add_argument("output", help="folder for checkpoints and the trained model")
    parser.add_argument("--max_steps", type=int, default=1000, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--image_size", type=int, default=32, help="images become so many pixels square")
    parser.add_argument("--validation_size", type=int, help="images held out (default: a tenth, at most 1,000)")
    given = parser.parse_args(argv)
    signal = Images(dataset_name=given.images, image_size=[given.image_size], validation_size=given.validation_size)
    training, validation = signal.load(seed=0)
    model = PixelTransformerModel(PixelTransformerConfig(signal=signal.kind, **signal.config_fields(training)))
    few = min(64, math.prod(model.config.native_grid) // 2)
    arguments = TrainingArguments(
        output_dir=given.output,
        max_steps=given.max_steps,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        logging_steps=50,
        eval_strategy="steps",
        eval_steps=max(1, given.max_steps // 4),
        save_steps=max(1, given.max_steps // 4),
        report_to="none",
        remove_unused_columns=False,  # the collator makes the model's arguments of images
        label_names=["query_values"],  # so that metrics see the true values
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=training,
        eval_dataset=validation,
        data_collator=Observe(signal, few, few),
        compute_metrics=metrics,
    )
    torch.manual_seed(0)
    trainer.train()
    found = trainer.evaluate()
    trainer.save_model(given.output)  # loads with AutoModel.from_pretrained(output, trust_remote_code=True)
    print({name: round(value, 4) for name, value in found.items()})
    return found


if __name__ == "__main__":
    main()
