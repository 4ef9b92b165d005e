"""The model card that every saved checkpoint carries, written from its configuration."""

TEMPLATE = """---
{metadata}
---

# {title}

Given the values of a signal at a few positions, wherever they lie, this model predicts the distribution of the value
everywhere else and draws whole plausible signals. It follows
[PixelTransformer](https://shubhtuls.github.io/PixelTransformer/) (Tulsiani & Gupta, ICML 2021) in an implementation of
its own.

Kind of signal: {signal}. Native grid: {grid}. Channels of a value: {channels}. Parameters: {parameters:,}.{scales}
{pictures}
## How to use

```python
import torch
from transformers import AutoModel

model = AutoModel.from_pretrained("{folder}", trust_remote_code=True).eval()
positions, order = model.native_positions(), torch.randperm({cells})  # (1, {cells}, {position_dim}), in [-1, 1]
context, queries = positions[:, order[:16]], positions[:, order[16:]]  # (B, K, P) and (B, Q, P)
values = torch.rand(1, 16, {value_dim})  # (B, K, V), {range}: put your own here
marginals = model.predict(context, values, queries)  # a distribution for every query
print(marginals.mean.shape, marginals.entropy().shape)  # {mean_shape}
{sampling}
```

## Training data

{data}

## Training

{training}

## Metrics

{metrics}

## Limits

- The model knows signals like those it was trained on. Given other signals it stays confident and is wrong.
- It has not seen grids much finer than the native one, more than {max_context} observed values at
  once, or observed regions of a form that its training did not draw.
- Drawn signals are plausible, not true: do not take them for a measurement of what was hidden.
- Samples are exact by default. With `num_steps=n`, values drawn in the same pass do not know of each other;
  `log_prob(..., num_steps=n)` is the likelihood of what is drawn then.

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
It also knows averages over larger cells, up to {side} native cells a side: see `context_scales` and `query_scales`
(0 to {largest}) and `sample(order="coarse-to-fine")`."""

SAMPLING = """samples = model.sample(context, values, queries, num_samples=4)  # (4, 1, Q, V), exact
nats = model.log_prob(context, values, queries, samples[0])  # joint, (1,)"""

# For grids with more cells than `config.max_tokens`.
SAMPLING_IN_PART = """# 512 values are drawn; the rest is their mean given these
samples = model.sample(context, values, queries, num_samples=4, num_autoregressive=512, num_steps=64)  # (4, 1, Q, V)
nats = model.log_prob(context, values, queries[:, :2000], samples[0][:, :2000])  # joint, of 2,000 values, (1,)"""

UNKNOWN = "Not recorded."


def model_card(config, num_parameters: int, folder: str = "path/to/this/folder", pictures: dict | None = None):
    """The `huggingface_hub.ModelCard` of a checkpoint.

    Args:
        config (`PixelTransformerConfig`): Its `provenance`, if any, fills the sections on data, training and metrics.
            Keys: `name`, `dataset`, `data`, `training`, `metrics` (Markdown texts), `max_context`.
        folder (`str`): Hub name or folder that the example loads.
        pictures (`dict[str, str]` or `None`): File names of pictures next to the card, by caption.
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
    largest = provenance.get("max_context", "the training's largest number of")
    bounds = "unbounded" if config.value_range is None else "in [{:g}, {:g}]".format(*config.value_range)
    return ModelCard(
        TEMPLATE.format(
            metadata=metadata.to_yaml(),
            title="PixelTransformer" + (f" on {provenance['name']}" if provenance.get("name") else ""),
            signal=config.signal,
            grid="×".join(map(str, config.native_grid)),
            channels=config.value_dim,
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
            max_context=f"{largest:,}" if isinstance(largest, int) else largest,
            **{key: provenance.get(key) or UNKNOWN for key in ("data", "training", "metrics")},
        )
    )
