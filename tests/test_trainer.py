"""The model works with `transformers.Trainer`: training, evaluation, prediction and metrics."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from conftest import make_context
from examples import train_with_trainer
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel


def items(model, count: int, queries: int = 6) -> list[dict[str, torch.Tensor]]:
    """What the Trainer's own collator makes batches of."""
    positions, values = make_context(model, count, 5 + queries)
    known, asked = slice(5), slice(5, None)
    return [
        {
            "context_positions": p[known],
            "context_values": v[known],
            "query_positions": p[asked],
            "query_values": v[asked],
        }
        for p, v in zip(positions, values, strict=True)
    ]


def make_trainer(model, folder: Path, rows: list, **options) -> Trainer:
    compute_metrics = options.pop("compute_metrics", None)
    arguments = TrainingArguments(
        output_dir=str(folder), report_to="none", use_cpu=True, per_device_eval_batch_size=4, max_steps=3, **options
    )
    return Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, compute_metrics=compute_metrics)


def test_it_trains_evaluates_and_predicts_without_any_setting(model, tmp_path):
    rows = items(model, 6)
    trainer = make_trainer(model, tmp_path, rows)
    assert math.isfinite(trainer.train().training_loss)
    batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    model.eval()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(model(**batch).loss.item(), rel=1e-3)
    mean, log_prob = trainer.predict(rows).predictions
    marginal = model.predict(*(batch[key] for key in ("context_positions", "context_values", "query_positions")))
    assert np.allclose(mean, marginal.mean, atol=1e-4)
    assert np.allclose(log_prob, marginal.log_prob(batch["query_values"]), rtol=1e-3, atol=1e-2)


def test_metrics_see_means_likelihoods_and_true_values(grey_model, tmp_path):
    options = {"label_names": ["query_values"], "compute_metrics": train_with_trainer.metrics}
    found = make_trainer(grey_model, tmp_path, items(grey_model, 6), **options).evaluate()
    assert found["eval_bits"] == pytest.approx(found["eval_loss"] / math.log(2), rel=1e-3) and found["eval_rmse"] > 0


def test_training_itself_computes_no_means(grey_model):
    """They take time, and nobody reads them there."""
    batch = {key: value[None] for key, value in items(grey_model, 1)[0].items()}
    assert grey_model.train()(**batch).mean is None
    out = grey_model.eval()(**batch)
    assert torch.equal(out.mean, out.distribution.mean) and torch.allclose(out.loss, -out.log_prob.mean())
    assert grey_model(**batch, return_loss=False).loss is None


def test_the_example_trains_a_model_that_loads(image_folder, tmp_path):
    flags = ["--max_steps", "4", "--image_size", "8", "--validation_size", "8"]
    found = train_with_trainer.main([str(image_folder), str(tmp_path / "out"), *flags])
    assert {"eval_loss", "eval_bits", "eval_rmse"} <= set(found)
    loaded = PixelTransformerModel.from_pretrained(tmp_path / "out")
    assert loaded.config.native_grid == [8, 8] and (tmp_path / "out" / "README.md").exists()
