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


SPECULATIVE = """## Exact sampling in rounds

`sample()` drafts many values per pass and verifies them in the next, which gives exactly the distribution of drawing
one value per pass (docs/SAMPLING.md). {known} values of held-out signals are known; the order is "spread". "Rounds" is
the mean over signals, with the smallest and largest. "Blocks" are draws that are independent within a pass, which costs
likelihood. The "floor" encodes and decodes all values twice in one batch: the work of drafts that are all accepted.

{table}

Likelihood, of whole held-out signals under the chain that is drawn. A buffer that exceeds a share of all known values
becomes context; larger shares take fewer rounds and cost likelihood. The last two columns score samples of both
methods under that chain: equal up to their intervals.

{quality}

![Values added per round](performance/rounds.png)

"""


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


def speculative(measured: list[dict]) -> str:
    """Exact samples in rounds: rounds, seconds and likelihoods of each checkpoint."""
    rows, quality, notes = [], [], []
    for found in measured:
        for row in found["rows"]:
            seconds, rounds = row["seconds"], row["rounds"]
            cells = [found["checkpoint"], f"{row['values']:,}"]
            cells.append(f"{sum(rounds) / len(rounds):.0f} ({min(rounds)}–{max(rounds)})")
            for samples in (1, 4):
                ours, reference = seconds[f"speculative-{samples}"], seconds[f"one-by-one-{samples}"]
                cells += [number(ours), number(reference), f"{reference / ours:.1f}×"]
            cells += [number(seconds["blocks-4"]), number(seconds["floor-4"]), number(seconds["predict"])]
            rows.append(cells)
        sampled = found.get("bits_of_samples")
        cells = [
            found["checkpoint"],
            f"{found['max_buffer_share']:.0%}",
            "{:.3f} ± {:.3f}".format(*found["bits_per_dim"]),
        ]
        cells.append("{:+.4f} ± {:.4f}".format(*found["random_adds"]))
        for method in ("speculative", "one-by-one"):
            cells.append("{:.3f} ± {:.3f}".format(*sampled[method]) if sampled else None)
        quality.append(cells)
        notes.append(
            f"`{found['checkpoint']}`: seconds of one sample grow as N^{found['exponent']:.2f}. {source(found)}"
        )
        if paper := found.get("paper_seconds"):
            notes.append(
                f"The published network's size (10 + 10 layers, width 256, untrained): {paper['cached']:.1f} s for "
                f"one sample of that grid, one value per pass with a cache; {paper['re_encoding']:.0f} s if everything "
                "is encoded again in each pass."
            )
    plot_rounds(measured, FOLDER / "rounds.png")
    columns = ["checkpoint", "values N", "rounds", "1 sample, s", "one by one, s", "faster"]
    columns += ["4 samples, s", "one by one, s", "faster", "4 in 64 blocks, s", "floor for 4, s", "`predict`, s"]
    titles = ["checkpoint", "largest buffer", "bits per dimension", "random order adds"]
    titles += ["bits of speculative samples", "bits of one-by-one samples"]
    known = measured[0]["context"]
    return SPECULATIVE.format(known=known, table=table(columns, rows), quality=table(titles, quality)) + "\n\n".join(
        notes
    )


def plot_rounds(measured: list[dict], path: Path) -> None:
    """Values that a round adds against the number of known values, on the native grid."""
    figure, axes = plt.subplots(figsize=(6, 3.5), constrained_layout=True)
    for found in measured:
        rounds = [point for row in found["rows"][:2] for signal in row["kept_by_known"] for point in signal]
        known, kept = np.array(sorted(rounds)).T
        edges = np.geomspace(known.min(), known.max() + 1, 12)
        at = np.digitize(known, edges)
        bins = [number for number in np.unique(at) if (at == number).sum() >= 3]
        mean = [[known[at == number].mean(), kept[at == number].mean()] for number in bins]
        axes.loglog(*np.array(mean).T, "o-", ms=4, label=found["checkpoint"])
    axes.set(xlabel="known values", ylabel="values added per round")
    axes.legend(fontsize=8)
    axes.grid(which="both", alpha=0.2)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


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
    title, encoded = "cached against re-encoding", "Every value is encoded once, in a\nbuffer that grows to the end."
    if share < 1:
        title = "the same, buffers becoming context"
        encoded = (
            f"In both, the\nbuffer becomes context when it holds more than {share:.0%} of what is known "
            "(`max_buffer_share`);\n[TRAINING.md](TRAINING.md) says what that gains in likelihood."
        )
    steps = next((row["re_encoding"] for row in found["rows"] if row["re_encoding"] != "whole"), None)
    note = f"\\* {steps}. " if steps else ""
    return f"""## Exact sampling: {title}

Checkpoint `{found["checkpoint"]}`, {found["context"]} observed values, all others drawn one at a time given all before.
"Cached" keeps keys and values; "re-encoding" encodes everything again for each value. Both have the same weights,
orders and random numbers, and the largest difference is between the values that they draw. {encoded}

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
    """(b) Passes, bits and time, for each checkpoint measured."""
    parts = [
        """## Fewer passes

`sample(num_steps=n)` draws the values in n blocks, one pass each. Values of a block are far apart. The checkpoint's
measured losses (`config.step_losses`), or a typical curve if it has none, decide the sizes of the blocks. The cost is
known exactly: it is the joint likelihood of whole signals under the blocks that are drawn.

"Lost" is the mean paired difference to drawing one value at a time in an order of the same kind, with its 95 %
interval. It can be negative: blocks use spread orders, which give `cifar10` higher likelihoods than random orders do
(row "exact, spread order"). Coarse to fine scores the averages over larger cells too, so its bits
compare only with each other."""
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

`model.predict(..., reduce=lambda d: d.moments)` keeps only the moments of each chunk of queries; a test compares them
with those of the whole `predict`. Memory is the peak of a separate process, minus that of a process that predicts only
one value. It holds the positions, the results and one chunk.

{table(columns, rows)}
"""
    if "bf16" in found:
        precision = table(
            ["observed positions K", "bits per dimension, float32", "bf16 products add"],
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

This implementation against a plain one ([benchmarks/plain.py](../benchmarks/plain.py)), taking turns step by step:
the same network ({found["parameters"]:,} parameters), weights, signals and positions. A step includes its data,
gradients, Muon and AdamW, and the running average of the weights.

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
        rates = [number(sums["images"] / sums[f"{way}_seconds"]) for way in ("encode", "decode")]
        rows.append([f"`{one['checkpoint']}`", f"{sums['images']:,}", one["num_steps"], f"{one['share']:g}", *rates])
    columns = ["checkpoint", "images", "passes", "share", "encoded a second", "decoded a second"]
    commands = "\n".join(f"- {source(one)}" for one in found)
    return f"""## Lossless codec

Images a second, by the clock; sizes are in [CODEC.md](CODEC.md).

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
that measures it again. Compared runs take turns in one process, and times are medians. No speed is bought with
quality: each comes with a likelihood, or with a difference of results. Some checkpoints have been trained further
since, so likelihoods compare only within a table."""
    ]
    names = sorted(path.stem for path in FOLDER.glob("steps-*.json"))
    names.sort(key=lambda name: name != "steps-cifar10")
    drawn = [read(path.stem) for path in sorted(FOLDER.glob("speculative-*.json"))]
    if drawn:
        parts.append(speculative(drawn))
    if found := read("sampling-once"):
        parts.append(sampling(found, "sampling-once"))
    for name, section in (("sampling", sampling), ("steps", None), ("grids", grids), ("training", training)):
        if name == "steps" and names:
            parts.append(steps(names))
        elif section and (found := read(name)):
            parts.append(section(found))
    if coded := [read(path.stem) for path in sorted(FOLDER.glob("codec-speed-*.json"))]:
        parts.append(codec(coded))
    DOCUMENT.write_text("\n\n".join(part.strip() for part in [*parts, TRIED.read_text()]) + "\n")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
