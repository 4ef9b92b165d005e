"""Seconds to a mean image from 64 pixels, in a fresh process and warm: `python -m benchmarks.first_use`."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

CODE = """
import json, sys, time
started = time.perf_counter()
import torch
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
queries = model.native_positions()
observed = torch.randperm(queries.shape[1])[:64]
values = torch.rand(1, 64, model.config.value_dim)
model.predict(queries[:, observed], values, queries).mean
first = time.perf_counter() - started
warm = []
for _ in range(20):
    started = time.perf_counter()
    model.predict(queries[:, observed], values, queries).mean
    warm.append(time.perf_counter() - started)
print(json.dumps([first, *warm]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="checkpoints/mnist", help="checkpoint folder or Hub id")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes")
    arguments = parser.parse_args()
    folder = Path(arguments.checkpoint)
    place = str(folder.resolve()) if folder.exists() else arguments.checkpoint
    whole, first, warm = [], [], []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", CODE, place], capture_output=True, text=True, check=True)
        whole.append(time.perf_counter() - started)
        numbers = json.loads(done.stdout.splitlines()[-1])
        first.append(numbers[0])
        warm.append(statistics.median(numbers[1:]))
    report = {"process_seconds": whole, "import_load_and_first_image": first, "warm_image": warm}
    print(json.dumps({name: round(statistics.median(values), 4) for name, values in report.items()}))


if __name__ == "__main__":
    main()
