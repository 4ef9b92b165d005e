"""Load a checkpoint and ask it, in ten lines: `python -m examples.query`."""

import sys

import torch
from transformers import AutoModel


def main(checkpoint: str = "checkpoints/mnist") -> None:
    model = AutoModel.from_pretrained(checkpoint, trust_remote_code=True).eval()
    positions = model.native_positions()  # (1, cells, P): the centres of all cells
    order = torch.randperm(positions.shape[1])
    known, asked = positions[:, order[:8]], positions[:, order[8:]]
    values = torch.rand(1, 8, model.config.value_dim)  # put your own observations here
    marginal = model.predict(known, values, asked)
    samples = model.sample(known, values, asked, num_samples=2)  # exact
    print("mean of all hidden values", marginal.mean.mean().item())
    print("least certain position", asked[0, marginal.entropy()[0].argmax()].tolist())
    print("log-likelihood of the first sample", model.log_prob(known, values, asked, samples[0]).item(), "nats")


if __name__ == "__main__":
    main(*sys.argv[1:])
