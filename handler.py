"""Serve a checkpoint on Hugging Face Inference Endpoints: put this file beside it, in the root of its repository.

A request is JSON. `inputs` is an observed set and where values are asked for, or a list of such (answered together):

    {"inputs": {"positions": [[0.0, 0.5]], "values": [[1.0]], "grid": [28, 28]},
     "parameters": {"task": "sample", "num_samples": 2, "num_steps": null, "temperature": 1.0, "seed": 0}}

`queries` (Q positions) may be given instead of `grid`; neither asks for the checkpoint's native grid. `scales`
(K numbers) make values averages over larger cells, where the checkpoint knows such: log2 of a cell's side over a native
one's; such a checkpoint may also sample in the `order` "coarse-to-fine"; all may in "spread", "random" or "raster".
`num_steps` null samples exactly; a number of passes is faster and less so. The answer to "predict"
holds `mean` and `stddev` (Q × V), to "sample" `samples` (num_samples × Q × V).
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel

MAX_INPUTS = 32  # observed sets in a request
MAX_CONTEXT = 4096  # positions of a set
MAX_QUERIES = 65_536  # positions asked for, of a set
MAX_SAMPLES = 16
MAX_DRAWN = 4096  # positions of a sample
MAX_STEPS = 1024
MAX_PAIRS = 2**30  # pairs of a query and a position it looks at, in a request
KEYS = ("positions", "values", "scales", "queries", "grid")
DEFAULTS = {"task": "predict", "num_samples": 1, "num_steps": None, "temperature": 1.0, "seed": None, "order": "spread"}


class EndpointHandler:
    """Answers requests with the model in a folder.

    Args:
        path (`str`): Folder of the checkpoint; its weights must be safetensors.

    Raises:
        ValueError: where the folder holds no safetensors.
    """

    def __init__(self, path: str = ""):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            model = AutoModel.from_pretrained(path or ".", trust_remote_code=True, use_safetensors=True)
        except OSError as error:
            raise ValueError(f"path: expected a checkpoint with model.safetensors, got {path!r}: {error}") from error
        self.model = model.eval().to(device)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """Answer one request.

        Returns:
            `dict` for one observed set, a list of them for a list.

        Raises:
            ValueError: naming the key, what was expected and what came.
        """
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError(f'request: expected an object with "inputs", got {_shown(data)}')
        parameters = self._parameters(data.get("parameters"))
        inputs = data["inputs"]
        many = isinstance(inputs, list)
        inputs = inputs if many else [inputs]
        if not 1 <= len(inputs) <= MAX_INPUTS:
            raise ValueError(f"inputs: expected 1 to {MAX_INPUTS} observed sets, got {len(inputs)}")
        read = [self._read(item, f"inputs[{number}]" if many else "inputs") for number, item in enumerate(inputs)]
        self._check_work(read, parameters)
        answers: list[dict[str, Any]] = [{} for _ in read]
        for numbers in _same_queries(read):
            for number, answer in zip(numbers, self._answer([read[n] for n in numbers], parameters), strict=True):
                answers[number] = answer
        return answers if many else answers[0]

    def _parameters(self, given: object) -> dict[str, Any]:
        given = {} if given is None else given
        if not isinstance(given, dict):
            raise ValueError(f"parameters: expected an object, got {_shown(given)}")
        unknown = set(given) - set(DEFAULTS)
        if unknown:
            raise ValueError(f"parameters: expected {', '.join(DEFAULTS)}, got {_shown(sorted(map(str, unknown)))} too")
        chosen = DEFAULTS | given
        if chosen["task"] not in ("predict", "sample"):
            raise ValueError(f'parameters.task: expected "predict" or "sample", got {_shown(chosen["task"])}')
        for name, low, high in (("num_samples", 1, MAX_SAMPLES), ("num_steps", 1, MAX_STEPS), ("seed", 0, 2**63 - 1)):
            value = chosen[name]
            whole = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
            if not whole and not (name in ("num_steps", "seed") and value is None):
                raise ValueError(f"parameters.{name}: expected an integer from {low} to {high:,}, got {_shown(value)}")
        heat = chosen["temperature"]
        if not isinstance(heat, int | float) or isinstance(heat, bool) or not 0 <= heat <= 10:  # NaN is not either
            raise ValueError(f"parameters.temperature: expected a number from 0 to 10, got {_shown(heat)}")
        orders = ["spread", "random", "raster"] + ["coarse-to-fine"] * (self.model.config.num_scales > 1)
        if chosen["order"] not in orders:
            expected = " or ".join(f'"{order}"' for order in orders)
            raise ValueError(f"parameters.order: expected {expected}, got {_shown(chosen['order'])}")
        return chosen

    def _read(self, item: object, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Positions (K, P), values (K, V), queries (Q, P) and scales (K,) of one observed set."""
        if not isinstance(item, dict) or set(item) - set(KEYS):
            raise ValueError(f"{name}: expected an object with {', '.join(KEYS)}, got {_shown(item)}")
        positions, values, scales = self.model.read_context(item, name, limit=MAX_CONTEXT)
        scales = torch.zeros(len(positions)) if scales is None else scales
        if "queries" in item and "grid" in item:
            raise ValueError(f"{name}.grid: expected either queries or grid, got both")
        if "queries" in item:
            queries = self.model.read_positions(item["queries"], f"{name}.queries", limit=MAX_QUERIES)
            if not len(queries):
                raise ValueError(f"{name}.queries: expected at least one position, got none")
        else:
            queries = self._grid(item.get("grid", self.model.config.native_grid), f"{name}.grid")
        return positions, values, queries, scales

    def _grid(self, grid: object, name: str) -> Tensor:
        axes = self.model.config.position_dim
        fits = isinstance(grid, list | tuple) and len(grid) == axes
        if not fits or not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MAX_QUERIES for n in grid):
            raise ValueError(f"{name}: expected {axes} integers from 1, got {_shown(grid)}")
        if math.prod(grid) > MAX_QUERIES:
            raise ValueError(f"{name}: expected at most {MAX_QUERIES:,} cells, got {math.prod(grid):,}")
        return self.model.native_positions(grid)[0].cpu()

    def _check_work(self, read: list[tuple[Tensor, ...]], parameters: dict[str, Any]) -> None:
        """Refuse what would keep the endpoint from others, before any work is done."""
        sampling, samples, pairs = parameters["task"] == "sample", parameters["num_samples"], 0
        grid, cells = self.model.config.native_grid, 0
        if sampling and parameters["order"] == "coarse-to-fine":
            scales = self.model.config.chain[:-1]
            cells = sum(math.prod(side // 2**scale for side in grid) for scale in scales)
        for positions, _, queries, _ in read:
            if sampling and len(queries) > MAX_DRAWN:
                raise ValueError(f"queries: expected at most {MAX_DRAWN:,} positions of a sample, got {len(queries):,}")
            asked = len(queries) + cells
            seen = len(positions) + 1 + (asked if sampling else 0)
            pairs += asked * seen * (samples if sampling else 1) + len(positions) ** 2
        if pairs > MAX_PAIRS:
            raise ValueError(
                f"inputs: expected at most {MAX_PAIRS:,} pairs of a query and what it looks at, got {pairs:,}; ask for "
                "fewer positions, samples or sets at a time"
            )

    @torch.inference_mode()
    def _answer(self, items: list[tuple[Tensor, ...]], parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Answers to observed sets that share their queries, in one batch: shorter ones are padded and masked."""
        device, config = self.model.device, self.model.config
        longest = max(len(positions) for positions, *_ in items)
        positions = torch.zeros(len(items), longest, config.position_dim)
        filler = 0.0 if config.value_range is None else config.value_range[0]
        values = torch.full((len(items), longest, config.value_dim), filler)
        scales, mask = torch.zeros(len(items), longest), torch.zeros(len(items), longest, dtype=torch.bool)
        for row, (known, observed, _, sizes) in enumerate(items):
            part = row, slice(len(known))
            positions[part], values[part], scales[part], mask[part] = known, observed, sizes, True
        context = (positions.to(device), values.to(device), items[0][2][None].to(device))
        options = {
            "context_mask": None if mask.all() else mask.to(device),
            "context_scales": scales.to(device) if scales.any() else None,
        }
        if parameters["task"] == "predict":
            marginal = self.model.predict(*context, **options)
            parts = zip(marginal.mean.cpu(), marginal.variance.sqrt().cpu(), strict=True)
            return [{"mean": mean.tolist(), "stddev": spread.tolist()} for mean, spread in parts]
        generator = torch.Generator(device)
        generator.seed() if parameters["seed"] is None else generator.manual_seed(parameters["seed"])
        chosen = {name: parameters[name] for name in ("num_samples", "num_steps", "temperature", "order")}
        samples = self.model.sample(*context, **chosen, **options, generator=generator)  # (S, B, Q, V)
        return [{"samples": sample.tolist()} for sample in samples.cpu().unbind(1)]


def _same_queries(read: list[tuple[Tensor, ...]]) -> list[list[int]]:
    """Numbers of the observed sets, those with equal queries together."""
    groups: list[list[int]] = []
    for number, item in enumerate(read):
        for group in groups:
            if torch.equal(read[group[0]][2], item[2]):
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
