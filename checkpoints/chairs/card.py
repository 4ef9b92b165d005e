"""The model card that every saved checkpoint carries, written from its configuration."""

TEMPLATE = """---
{metadata}
---

# {title}

A model of the kind of [PixelTransformer](https://shubhtuls.github.io/PixelTransformer/) (Tulsiani & Gupta, ICML 2021),
in an implementation of its own: given the values of a signal at a few arbitrary places it infers the distribution of
its values everywhere else, and draws whole plausible signals from it.
This checkpoint: {signal}, native grid {grid}, {channels} of a value, {parameters:,} parameters.{scales}
{pictures}
## How to use

```python
import torch
from transformers import AutoModel

model = AutoModel.from_pretrained("{folder}", trust_remote_code=True).eval()
places = model.native_positions()  # (1, {cells}, {position_dim}), cell centres in [-1, 1]
observed = torch.randperm({cells})
known, queries = places[:, observed[:16]], places[:, observed[16:]]
values = torch.rand(1, 16, {value_dim})  # (B, K, V), {range}: put your own here
marginal = model.predict(known, values, queries)
print(marginal.mean.shape, marginal.entropy().shape)  # {mean_shape}
{sampling}
```

## Training data

{data}

## Training

{training}

## Metrics

{metrics}

## Limits

It knows signals like those it was trained on and nothing else: given others it stays confident. Places far finer than
the native grid, clustered observations, or more of them than {max_context} at once, are outside
what it has seen. Drawn signals are plausible, not true: do not take them for a measurement of what was hidden.
Values drawn in one step (`num_steps`) do not know of each other; `log_prob(..., num_steps=...)` tells what that costs.

## Citation

```bibtex
@inproceedings{{tulsiani2021pixeltransformer,
  title     = {{PixelTransformer: Sample Conditioned Signal Generation}},
  author    = {{Tulsiani, Shubham and Gupta, Abhinav}},
  booktitle = {{International Conference on Machine Learning (ICML)}},
  year      = {{2021}}
}}
```
"""

SCALES = """
It knows averages over cells of up to {side} native cells a side: `context_scales` and `query_scales` from 0 to
{largest}, `sample(order="coarse-to-fine")`."""

SAMPLING = """samples = model.sample(known, values, queries, num_samples=4)  # (4, 1, Q, V)
nats = model.log_prob(known, values, queries, samples[0])  # joint, (1,)"""

# Of grids with more cells than `config.max_tokens`.
SAMPLING_IN_PART = """# 512 values are drawn, the rest is their mean given these
samples = model.sample(known, values, queries, num_samples=4, num_autoregressive=512, num_steps=64)  # (4, 1, Q, V)
nats = model.log_prob(known, values, queries[:, :2000], samples[0][:, :2000])  # joint, of 2,000 values, (1,)"""

UNKNOWN = "Not recorded."


def model_card(config, num_parameters: int, folder: str = "path/to/this/folder", pictures: dict | None = None):
    """The `huggingface_hub.ModelCard` of a checkpoint.

    Args:
        config (`PixelTransformerConfig`): Its `provenance`, where there is one, fills the sections on data, training
            and metrics: keys `name`, `dataset`, `data`, `training`, `metrics` (Markdown texts), `max_context`.
        folder (`str`): What the example loads: a Hub name or a folder.
        pictures (`dict[str, str]` or `None`): Names of pictures beside the card, by caption.
    """
    from huggingface_hub import ModelCard, ModelCardData  # slow to import, and only saving needs it

    provenance = config.provenance or {}
    metadata = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        tags=["pixeltransformer", "neural-process", "generative", config.signal],
        datasets=[provenance["dataset"]] if provenance.get("dataset") else None,
    )
    cells = 1
    for size in config.native_grid:
        cells *= size
    bounds = "unbounded" if config.value_range is None else "in [{:g}, {:g}]".format(*config.value_range)
    return ModelCard(
        TEMPLATE.format(
            metadata=metadata.to_yaml(),
            title="PixelTransformer" + (f" on {provenance['name']}" if provenance.get("name") else ""),
            signal=config.signal,
            grid="×".join(map(str, config.native_grid)),
            channels=f"{config.value_dim} channel" + ("s" if config.value_dim > 1 else ""),
            parameters=num_parameters,
            scales=""
            if config.num_scales == 1
            else SCALES.format(side=2 ** (config.num_scales - 1), largest=config.num_scales - 1),
            sampling=SAMPLING if cells <= config.max_tokens else SAMPLING_IN_PART,
            folder=folder,
            pictures="".join(f"\n{caption}:\n\n![{caption}]({name})\n" for caption, name in (pictures or {}).items()),
            position_dim=config.position_dim,
            value_dim=config.value_dim,
            range=bounds,
            mean_shape=f"(1, {cells - 16}, {config.value_dim}) and (1, {cells - 16})",
            cells=cells,
            max_context=provenance.get("max_context", "the training's largest context"),
            **{key: provenance.get(key) or UNKNOWN for key in ("data", "training", "metrics")},
        )
    )
