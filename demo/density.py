"""The distribution of one value drawn as SVG: bars in the colours of the bins, or a curve; mean and mode marked."""

import math
from html import escape

import torch
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution

WIDTH, HEIGHT, BASE, TOP = 480, 190, 150, 30  # of the drawing; the bars stand on BASE and reach up to TOP
LEAST = 1.5  # height of the smallest bar that is still seen


def density_svg(distribution: ValueDistribution, position: str) -> str:
    """One value's distribution (batch shape ()) at a position, named in the title, as an SVG picture with a text.

    Colours: one bar a bin, dark to bright, each in its bin's colour and as high as its probability.
    Grey levels: the same along the axis of the level. Unbounded values: the density's curve.
    """
    colour = distribution.event_shape[0] == 3
    levels = distribution.quantization_step is not None
    body, note = _colours(distribution) if colour else _levels(distribution) if levels else _curve(distribution)
    entropy = distribution.entropy().item()
    title = f"{position}: {note}"
    bits = entropy / math.log(2)
    kind = "bits of entropy" if levels else "bits of differential entropy"
    return (
        f'<figure class="pt-density"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{body}</svg><figcaption><b>{escape(position)}</b> · {escape(note)} · {bits:.1f} {kind}</figcaption></figure>"
    )


def summary(distribution: ValueDistribution) -> dict:
    """One value's distribution (batch shape ()) as JSON: bins with probabilities, mean, deviation, mode, entropy."""
    centers = distribution.bin_centers if distribution.bin_centers is not None else distribution.means
    return {
        "bins": [[round(x, 4) for x in row] for row in centers.float().tolist()],
        "probabilities": [round(x, 6) for x in distribution.probs.tolist()],
        "mean": distribution.mean.tolist(),
        "deviation": distribution.stddev.tolist(),
        "mode": distribution.mode.tolist(),
        "entropy": distribution.entropy().item(),
    }


NAMED = {
    "black": (0, 0, 0), "dark grey": (70, 68, 66), "grey": (135, 132, 128), "light grey": (195, 193, 190),
    "white": (255, 255, 255), "dark brown": (62, 42, 30), "brown": (110, 74, 44), "ginger": (196, 118, 52),
    "tan": (176, 142, 108), "sand": (226, 188, 132), "cream": (240, 226, 204), "pink": (228, 156, 152),
    "red": (206, 60, 54), "dark red": (110, 30, 28), "orange": (240, 150, 40), "yellow": (236, 214, 80),
    "olive": (112, 108, 52), "leaf green": (140, 172, 88), "dark green": (46, 92, 54), "teal": (60, 130, 130),
    "sky blue": (128, 178, 220), "blue": (60, 100, 200), "dark blue": (30, 48, 98), "slate": (92, 104, 122),
    "purple": (120, 70, 150), "lilac": (190, 160, 210),
}  # fmt: skip


def colour_name(values: Tensor) -> str:
    """A word for a colour in [0, 1] (3,): the nearest of `NAMED`."""
    known = torch.tensor(list(NAMED.values())) / 255
    return list(NAMED)[int((known - values).square().sum(-1).argmin())]


def hex_colour(values: Tensor) -> str:
    """A value in [0, 1] (V,) as #rrggbb."""
    levels = (values.expand(3).clamp(0, 1) * 255).round().int().tolist()
    return "#" + "".join(f"{level:02x}" for level in levels)


def _bars(distribution: ValueDistribution, lefts: list[float], width: float, order: list[int], colours: Tensor) -> str:
    probabilities = distribution.probs
    highest = probabilities.max().item()
    parts = []
    for left, index in zip(lefts, order, strict=True):
        probability = probabilities[index].item()
        height = max(LEAST, (BASE - TOP) * probability / highest)
        parts.append(
            f'<rect x="{left:.1f}" y="{BASE - height:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{hex_colour(colours[index])}"><title>{probability:.1%}</title></rect>'
        )
    return "".join(parts)


def _marker(x: float, label: str, fill: str, shift: int) -> str:
    """A labelled triangle under the axis."""
    anchor = "start" if x < 60 else "end" if x > WIDTH - 60 else "middle"
    return (
        f'<path class="pt-marker" d="M{x:.1f} {BASE + 2} l-6 10 h12 z" fill="{fill}"/>'
        f'<text x="{x:.1f}" y="{BASE + 23 + shift}" text-anchor="{anchor}">{label}</text>'
    )


def _axis() -> str:
    return f'<line class="pt-axis" x1="8" x2="{WIDTH - 8}" y1="{BASE}" y2="{BASE}"/>'


def _shifted(first: float, second: float) -> int:
    """How far down the second label goes so that two near ones do not overlap."""
    return 13 if abs(first - second) < 54 else 0


def _colours(distribution: ValueDistribution) -> tuple[str, str]:
    centers = distribution.bin_centers.float()
    order = (centers @ torch.tensor([0.299, 0.587, 0.114])).argsort().tolist()
    slot = (WIDTH - 16) / len(order)
    lefts = [8 + slot * rank for rank in range(len(order))]

    def nearest(value: Tensor) -> float:
        rank = order.index(int((centers - value).square().sum(-1).argmin()))
        return lefts[rank] + slot / 2

    mean, mode = distribution.mean, distribution.mode
    at_mean, at_mode = nearest(mean), nearest(mode)
    body = _bars(distribution, lefts, max(1.0, slot - 1), order, centers) + _axis()
    body += _marker(at_mean, "mean", hex_colour(mean), 0)
    body += _marker(at_mode, "mode", hex_colour(mode), _shifted(at_mean, at_mode))
    deviation = distribution.stddev.mean().item()
    return body, f"mean {colour_name(mean)}, mode {colour_name(mode)}, standard deviation {deviation:.2f}"


def _levels(distribution: ValueDistribution) -> tuple[str, str]:
    centers = distribution.bin_centers.float()
    slot = (WIDTH - 16) / len(centers)
    order = centers[:, 0].argsort().tolist()
    low, high = distribution.value_range
    at = [12 + (WIDTH - 24) * (centers[index, 0].item() - low) / (high - low) for index in order]
    width = max(1.0, min(0.8 * slot, min((b - a for a, b in zip(at, at[1:], strict=False)), default=slot) - 1))
    body = _bars(distribution, [min(max(x - width / 2, 2), WIDTH - width - 2) for x in at], width, order, centers)
    mean, mode = distribution.mean, distribution.mode
    positions = [12 + (WIDTH - 24) * (v.item() - low) / (high - low) for v in (mean, mode)]
    body += _axis() + _marker(positions[0], "mean", hex_colour(mean), 0)
    body += _marker(positions[1], "mode", hex_colour(mode), _shifted(*positions))
    deviation = distribution.stddev.item()
    return body, f"mean {mean.item():.2f}, mode {mode.item():.2f}, standard deviation {deviation:.2f}"


def _curve(distribution: ValueDistribution) -> tuple[str, str]:
    mean, deviation, mode = (x.item() for x in (distribution.mean, distribution.stddev, distribution.mode))
    low, high = mean - 4 * deviation, mean + 4 * deviation
    values = torch.linspace(low, high, 160)
    density = distribution.expand((160,)).log_prob(values[:, None]).exp()
    across = [8 + (WIDTH - 16) * index / 159 for index in range(160)]
    heights = (BASE - (BASE - TOP) * density / density.max()).tolist()
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, heights, strict=True))
    at = [8 + (WIDTH - 16) * (value - low) / (high - low) for value in (mean, mode)]
    body = f'<polygon class="pt-area" points="8,{BASE} {line} {WIDTH - 8},{BASE}"/>' + _axis()
    body += _marker(at[0], f"mean {mean:.2f}", "var(--pt-accent)", 0)
    body += _marker(at[1], "mode", "var(--pt-second)", _shifted(*at))
    body += f'<text x="8" y="{BASE + 23}">{low:.2f}</text>'
    body += f'<text x="{WIDTH - 8}" y="{BASE + 23}" text-anchor="end">{high:.2f}</text>'
    return body, f"mean {mean:.3f}, standard deviation {deviation:.3f}"
