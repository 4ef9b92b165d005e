"""The tables of docs/FIELD.md, from the scores of all models."""

import math

from baselines.autoregressive import MODELS

NOTHING = "–"
BITS = math.log(2)
FORMER = " †"  # behind the names of weights that others have replaced

HEADER = """# The field in one table

Every model is asked the same questions about the same held-out images. "–" marks a question that a model cannot answer.
[FIELD_MODELS.md](FIELD_MODELS.md) says what the models are and how they were trained. Intervals are 95 %, over images.

```
{command}
```

Scores are kept between calls, so figures may stem from several calls with other numbers of images; each table says on
how many images its figures rest. The table of costs names the
machine on which the seconds of a row were measured.
"""


def number(found: dict | None, scale: float = 1.0, digits: int = 2) -> str:
    """A mean with its interval, or that there is none."""
    if found is None:
        return NOTHING
    return f"{found['mean'] * scale:.{digits}f} ± {found['half'] * scale:.{digits}f}"


def images(found: dict | None) -> str:
    """On how many images a mean rests."""
    return f"{found['images']:,}" if found else NOTHING


def measured(head: list[str], rows: list[list[str]]) -> str:
    """A table without the columns in which nothing was measured."""
    kept = [index for index in range(len(head)) if not index or any(row[index] != NOTHING for row in rows)]
    return markdown([head[index] for index in kept], [[row[index] for index in kept] for row in rows])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is words."""
    line = "|".join(["---"] + ["---:"] * (len(head) - 1))
    return (
        "\n".join(f"| {' | '.join(row)} |" for row in [head])
        + f"\n|{line}|\n"
        + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    )


def published(name: str) -> str:
    """The published joint nats of a model, by the name it was trained under."""
    entry = MODELS.get(name)
    if entry is None or entry.published is None:
        return NOTHING
    return f"{entry.published:.2f}" + (" (static)" if entry.static else "")


def chosen(scores: dict[str, dict], kind: str) -> dict[str, dict]:
    """The models of a kind of data, best first; those without a likelihood last."""
    found = {folder: one for folder, one in scores.items() if one["data"] == kind}
    key = lambda folder: found[folder]["joint"]["mean"] if found[folder].get("joint") else math.inf  # noqa: E731
    return {folder: found[folder] for folder in sorted(found, key=key)}


def label(folder: str, one: dict) -> str:
    """A model's name in a row; on another grid than the others with that. PixelTransformers bear any folder's name."""
    name = folder if one["model"] in MODELS else f"PixelTransformer, `{folder}`"
    name += FORMER if one.get("former") else ""
    return name + (f" ({'×'.join(map(str, one['grid']))})" if one["other_grid"] else "")


def joint_table(scores: dict[str, dict]) -> str:
    """a. Joint nats on binarised images."""
    rows = [
        [
            label(folder, one),
            number(one.get("joint")),
            images(one.get("joint")),
            number(one.get("ensemble")),
            images(one.get("ensemble")),
            published(one["model"]),
        ]
        for folder, one in chosen(scores, "binary").items()
    ]
    head = ["binarised images, nats", "one order", "images", "mean of several orders", "images", "published"]
    return measured(head, rows)


def bits_table(scores: dict[str, dict], kind: str, title: str) -> str:
    """b. and c. Bits per dimension."""
    rows = [
        [label(folder, one), number(one.get("joint"), 1 / BITS / one["values"], 3), images(one.get("joint"))]
        for folder, one in chosen(scores, kind).items()
    ]
    return markdown([title, "bits per dimension", "images"], rows)


def curves_table(scores: dict[str, dict]) -> str:
    """Nats of curves: log-densities, so that they may be below 0."""
    rows = [[label(folder, one), number(one.get("joint"))] for folder, one in chosen(scores, "curves").items()]
    return markdown(["curves", "nats"], rows)


def completion_table(scores: dict[str, dict], hidden: list[str]) -> str:
    """d. Bits of what is hidden."""
    rows = [
        [label(folder, one), *(number(one.get("hidden", {}).get(name), 1 / BITS, 1) for name in hidden)]
        for folder, one in chosen(scores, "binary").items()
        if not one["other_grid"]
    ]
    counts = {found["images"] for one in scores.values() for found in one.get("hidden", {}).values() if found}
    head = f"bits of what is hidden, {' or '.join(f'{count:,}' for count in sorted(counts))} images"
    return markdown([head, *hidden], rows)


def samples_table(scores: dict[str, dict]) -> str:
    """e. Drawn images, as a classifier sees them."""
    rows = []
    for folder, one in scores.items():
        for size, found in one.get("samples", {}).items():
            width, height = (int(size) * side for side in one["grid"])
            shares = [number(found[name], 100, 1) for name in ("confidence", "recognised")]
            rows.append([label(folder, one), f"{width}×{height}", *shares, number(found["similarity"], 1, 3)])
    return markdown(["drawn images", "size", "confidence, %", "recognised (≥ 90 %), %", "MS-SSIM of pairs"], rows)


def cost_table(scores: dict[str, dict]) -> str:
    """f. Passes, seconds, parameters, minutes."""

    def plain(value: float | None, digits: int) -> str:
        return NOTHING if value is None else f"{value:,.{digits}f}"

    rows = []
    for folder, one in scores.items():
        cost = one.get("costs", {})
        seconds = [plain(cost.get("sample_seconds"), 3), plain(cost.get("score_seconds"), 4)]
        known = [f"{one['parameters']:,}", plain(one["minutes"], 0)]
        rows.append([label(folder, one), plain(cost.get("passes"), 0), *seconds, cost.get("machine", NOTHING), *known])
    head = [
        "model",
        "passes a sample",
        "seconds a sample",
        "seconds to score an image",
        "measured on",
        "parameters",
        "minutes trained",
    ]
    return measured(head, rows)


def page(scores: dict[str, dict], hidden: list[str], command: str) -> str:
    """The whole page; tables without rows are left out."""
    kinds = {one["data"] for one in scores.values()}
    parts = [HEADER.format(command=command)]
    if "binary" in kinds:
        parts += ["## Binarised images", joint_table(scores)]
    if "grey" in kinds:
        parts += ["## Grey images, 8 bits", bits_table(scores, "grey", "grey images")]
    if "colour" in kinds:
        parts += ["## Colour images", bits_table(scores, "colour", "colour images")]
    if "curves" in kinds:
        parts += ["## Curves", curves_table(scores)]
    if "binary" in kinds:
        parts += ["## Completion", completion_table(scores, hidden)]
    if any("samples" in one for one in scores.values()):
        parts += ["## Drawn images", samples_table(scores)]
    parts += ["## Cost", cost_table(scores)]
    if any(one.get("former") for one in scores.values()):
        parts += ["† Weights of a shorter training, which the shipped ones have replaced."]
    return "\n\n".join(part.strip() for part in parts) + "\n"
