"""Make docs/PERFORMANCE.md and its pictures from what docs/performance holds: `python -m benchmarks.report`."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.steps import table as steps_table
from benchmarks.timing import FOLDER
from evaluation.tables import Cell, make_table, markdown

DOCUMENT = Path("docs/PERFORMANCE.md")

TRIED = Path(__file__).with_name("tried.md")  # notes on what paid and what did not


def read(name: str) -> dict | None:
    """A measurement, or `None` where it has not been made."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def source(found: dict) -> str:
    """What a section's numbers come from."""
    return f"`{found['command']}`, on {found['machine']}."


def table(columns: list[str], rows: list[list[Cell]]) -> str:
    """A Markdown table of cells that are formatted already."""
    return markdown(make_table([(title, 0) for title in columns], rows))


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits without an exponent; – for what was not measured."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def sampling(found: dict, picture: str = "sampling") -> str:
    """(a) Cached against re-encoding."""
    rows = [
        [
            row["values"],
            row["samples"],
            number(row["cached_seconds"]),
            number(row["re_encoding_seconds"]) + ("" if row["re_encoding"] == "whole" else " *"),
            f"{row['speedup']:.0f}×",
            "–" if row["largest_difference"] is None else f"{row['largest_difference']:.1g}",
            number(row.get("megabytes")),
        ]
        for row in found["rows"]
    ]
    columns = [
        "values N",
        "samples",
        "cached, s",
        "re-encoding, s",
        "faster",
        "largest difference",
        "MB above the model",
    ]
    cached, again = found["exponents"]["cached_seconds"], found["exponents"]["re_encoding_seconds"]
    fitted = "; ".join(f"{n} sample(s): N^{cached[n]:.2f} cached, N^{again[n]:.2f} re-encoding" for n in cached)
    plot_sampling(found, FOLDER / f"{picture}.png")
    share = found.get("max_buffer_share", 1.0)
    title, encoded = "cached against re-encoding", "Every value is encoded once, in a buffer that grows to the end."
    if share < 1:
        title = "the same, buffers becoming context"
        encoded = (
            f"As the checkpoint has it, a buffer of more than {share:.0%} of what is known becomes context, for both:\n"
            "what that gains in likelihood stands in docs/TRAINING.md."
        )
    steps = next((row["re_encoding"] for row in found["rows"] if row["re_encoding"] != "whole"), None)
    note = f"\\* {steps}. " if steps else ""
    return f"""## Exact sampling: {title}

Every value drawn one at a time given all before it, {found["context"]} observed, checkpoint `{found["checkpoint"]}`,
the same weights, orders and random numbers; the largest difference is that of the values drawn by the two.
{encoded}

{table(columns, rows)}

{note}Fitted over all N: {fitted}.

![Seconds against N, log-log](performance/{picture}.png)

{source(found)}
"""


def plot_sampling(found: dict, path: Path) -> None:
    """Log-log picture with the fitted lines."""
    figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
    colours = {"cached_seconds": "tab:blue", "re_encoding_seconds": "tab:orange"}
    for key, colour in colours.items():
        for samples, marker in ((1, "o"), (4, "s")):
            points = [(row["values"], row[key]) for row in found["rows"] if row["samples"] == samples]
            if not points:
                continue
            x, y = np.array(points).T
            slope, level = np.polyfit(np.log(x), np.log(y), 1)
            label = f"{key.removesuffix('_seconds').replace('_', '-')}, {samples} sample(s): N^{slope:.2f}"
            axes.loglog(x, np.exp(level) * x**slope, color=colour, alpha=0.5, lw=1)
            axes.loglog(x, y, marker, color=colour, mfc="none" if samples == 1 else colour, label=label)
    axes.set(xlabel="values N", ylabel="seconds", title="Exact sampling")
    counts = sorted({row["values"] for row in found["rows"]})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=8)
    axes.grid(which="both", alpha=0.2)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def steps(names: list[str]) -> str:
    """(b) Steps against bits against time, for each checkpoint measured."""
    parts = [
        """## Steps in place of exactness

`sample(num_steps=n)` draws blocks of values that lie far apart, in sizes that the checkpoint's measured losses
(`config.step_losses`) choose. What that costs is known exactly: the joint likelihood of whole signals under the very
blocks that are drawn.
"Lost" is the mean of the paired differences to one value at a time in the same kind of order, with its 95 % interval.
Below 0, the blocks are the more likely: they come in orders that spread evenly, which suit `cifar10` and `cat-faces`
better than random ones ("spread order"). From coarse to fine, the chain tells the averages too: its bits compare with
one another, not with those of the random order. Without measured losses (`chairs`, `polynomial`) a usual curve decides
the sizes."""
    ]
    for name in names:
        found = read(name)
        for order, rows in found["orders"].items():
            title = f"### `{found['checkpoint']}`" + ("" if order == "random" else f", order {order}")
            text = f"{found['signals']} signals ({found['split']}), K = {found['context']} observed, all others scored."
            shown = steps_table(rows, found["samples"], found["quantised"])
            parts.append(f"{title}\n\n{text}\n\n{shown}\n\n{source(found)}")
    return "\n\n".join(parts) + "\n"


def grids(found: dict) -> str:
    """(d) Prediction over grids."""
    columns = ["checkpoint", "grid", "K", "float32, s", "µs a query", "MB above the model"]
    columns += ["bf16 products, s", "µs a query", "MB"]
    rows = []
    for row in found["rows"]:
        cells = [row["checkpoint"], "×".join(map(str, row["grid"])), str(row["context"])]
        for name in ("float32", "bf16"):
            cells += [number(row[f"{name}_seconds"]), number(row[f"{name}_microseconds"])]
            cells.append(number(row[f"{name}_megabytes"]))
        rows.append(cells)
    text = f"""## Mean and variance over large grids

`model.predict(..., reduce=lambda d: d.moments)` keeps of each chunk of queries only what is asked for (a test holds it
equal to `predict`'s own). Memory is the peak of a process that does nothing else, above one that loaded the model and
predicted one value; it holds the positions, the results and one chunk.

{table(columns, rows)}
"""
    if "bf16" in found:
        precision = table(
            ["observed places K", "bits per dimension, float32", "bf16 products add"],
            [
                [
                    row["context"],
                    "{:.3f} ± {:.3f}".format(*row["bits_per_dim"]),
                    "{:+.5f} ± {:.5f}".format(*row["bf16_adds"]),
                ]
                for row in found["bf16"]
            ],
        )
        text += f"\nWhat bf16 products cost in likelihood (paired, on test images):\n\n{precision}\n"
    return text + f"\n{source(found)}\n"


def training(found: dict) -> str:
    """(c) Tokens a second."""
    rows = []
    for name, title in (
        ("ours", f"this implementation, {found['precision']} products"),
        ("plain", "plain first implementation, float32"),
    ):
        matrix = found["matrix_gflops"][name]
        share = found["gflops"][name] / matrix
        cells = [title, number(found["tokens_a_second"][name], 4), number(found["gflops"][name]), number(matrix)]
        rows.append([*cells, f"{share:.0%}", f"{found['data_share'][name]:.1%}"])
    columns = ["", "tokens a second", "GFLOP/s", "largest matrix product, GFLOP/s", "share of it", "time on data"]
    plot_training(found, FOLDER / "training.png")
    return f"""## Training

Step by step in turn: the same network ({found["parameters"]:,} parameters) from the same weights on the same
signals and places, whole steps with data, gradients, Muon and AdamW, running
average ([benchmarks/plain.py](../benchmarks/plain.py) is what is compared with).

{table(columns, rows)}

{found["ratio"]:.2f} times the tokens a second over {found["steps"]} steps; median ratio of one step
{found["ratio_of_each_step"]:.2f}. The losses differ by {found["largest_difference"]:.3f} nats at most,
of about {found["losses"]["plain"][-1]:.1f}.

![Loss of both](performance/training.png)

{source(found)}
"""


def codec(found: list[dict]) -> str:
    """(e) The lossless codec, both ways."""
    rows = []
    for one in found:
        sums = one["total"]
        name = f"`{one['checkpoint']}`" + (", photographs" if one["photographs"] else "")
        cells = [name, f"{sums['images']:,}", one["num_steps"], f"{one['share']:g}"]
        for way in ("encode", "decode"):
            cells += [number(sums["images"] / sums[f"{way}_{kind}"]) for kind in ("cpu_seconds", "seconds")]
        rows.append(cells)
    columns = ["checkpoint", "images", "passes", "share"]
    columns += ["encoded a second of one core", "by the clock", "decoded a second of one core", "by the clock"]
    commands = "\n".join(f"- {source(one)}" for one in found)
    return f"""## Lossless codec

Images a second; sizes are in [CODEC.md](CODEC.md). "By the clock" is what a machine gave that did other
work at the same time; the work of one core is what compares.

{table(columns, rows)}

{commands}
"""


def plot_training(found: dict, path: Path) -> None:
    """Both losses over the steps."""
    figure, axes = plt.subplots(figsize=(6, 3), constrained_layout=True)
    axes.plot(found["losses"]["plain"], lw=3, alpha=0.4, label="plain, float32")
    axes.plot(found["losses"]["ours"], lw=1, label=f"ours, {found['precision']} products")
    axes.set(xlabel="step", ylabel="nats per value")
    axes.legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    parts = [
        """# Performance

Made by `python -m benchmarks.report` from [docs/performance](performance); under each table stands the command
that measures it again. Runs are interleaved in one process, times are medians. No speed is bought with
quality: beside each stands a likelihood or an equality."""
    ]
    names = sorted(path.stem for path in FOLDER.glob("steps-*.json"))
    names.sort(key=lambda name: name != "steps-cifar10")
    if found := read("sampling-once"):
        parts.append(sampling(found, "sampling-once"))
    for name, section in (("sampling", sampling), ("steps", None), ("grids", grids), ("training", training)):
        if name == "steps" and names:
            parts.append(steps(names))
        elif section and (found := read(name)):
            parts.append(section(found))
    if coded := [read(path.stem) for path in sorted(FOLDER.glob("codec-*.json"))]:
        parts.append(codec(coded))
    DOCUMENT.write_text("\n\n".join(part.strip() for part in [*parts, TRIED.read_text()]) + "\n")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
