"""Videos: a moving picture (GIF) with lines of K; observed positions, the mean and a sample next to the truth."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw

from signals.image import checkered, to_image
from signals.plan import SIDE, View, fill_lines

CONTEXTS = [64, 256, 1024]
CLIPS = 2
ZOOM = 3
DRAWN = 2048
COLUMNS = 6  # of new videos


class ClipView(View):
    """The frames of a clip in a row, on a dim chequered ground where nothing is known."""

    wide = True

    def size(self, grid: list[int]) -> tuple[float, float]:
        frames, width, height = grid
        return SIDE * (frames * (width + 1) - 1) / height, SIDE

    def show(self, axis, signal, values: torch.Tensor, grid: list[int]) -> None:
        frames, width, height = grid
        values = values.cpu().float().expand(-1, 3).view(frames, height, width, 3)
        clip = torch.where(values.isnan(), checkered([width, height]), values).clamp(0, 1)
        clip = torch.nn.functional.pad(clip, (0, 0, 0, 1), value=1.0)  # a white line between frames
        axis.imshow(torch.cat(list(clip), 1)[:, :-1], interpolation="nearest")
        axis.set(xticks=[], yticks=[])


def draw(model, signal, rows, index: int, temperature: float, seed: int, output: Path) -> None:
    """Write the GIF for two rows, from `index` on."""
    grid = model.config.native_grid
    frames, width, height = grid
    everywhere = model.native_positions()
    generator = torch.Generator().manual_seed(seed)
    contexts = [context for context in CONTEXTS if context < len(everywhere[0])]
    panels = []  # (line, column, (frames, y, x, 3))
    for clip in range(CLIPS):
        truth = signal.grid_values(signal.collate([rows[index + clip]]), grid)[0]
        order = torch.randperm(len(truth), generator=generator)
        for line, context in enumerate(contexts):
            known, hidden = order[:context], order[context:]
            observed, queries = (everywhere[:, known], truth[None, known]), everywhere[:, hidden]
            sample = model.sample(
                *observed,
                queries,
                num_steps=256,
                num_autoregressive=min(DRAWN, len(hidden)),
                temperature=temperature,
                generator=generator,
            )[0, 0]
            ground = checkered([width, height]).flatten(0, 1).repeat(frames, 1)
            ground[known] = truth[known].expand(-1, 3)
            pictures = [ground]
            for filling in (model.predict(*observed, queries).mean[0], sample):
                whole = truth.clone()
                whole[hidden] = filling
                pictures.append(whole.expand(-1, 3))
            pictures.append(truth.expand(-1, 3))
            panels += [(line, 4 * clip + column, p.view(frames, height, width, 3)) for column, p in enumerate(pictures)]
    names = ["observed", "mean", "sample", "truth"] * CLIPS
    side_x, side_y, margin, top = width * ZOOM + 6, height * ZOOM + 6, 78, 18
    sheets = []
    for frame in range(frames):
        sheet = Image.new("RGB", (margin + side_x * len(names), top + side_y * len(contexts)), "white")
        pen = ImageDraw.Draw(sheet)
        for line, column, picture in panels:
            image = to_image(picture[frame]).resize((width * ZOOM, height * ZOOM), Image.Resampling.NEAREST)
            sheet.paste(image, (margin + column * side_x, top + line * side_y))
        for column, name in enumerate(names):
            pen.text((margin + column * side_x + 2, 3), name, fill="black")
        for line, context in enumerate(contexts):
            pen.text((4, top + line * side_y + side_y // 2 - 8), f"{context} positions", fill="black")
        sheets.append(sheet)
    sheets[0].save(output, save_all=True, append_images=sheets[1:], duration=180, loop=0)


def draw_new(samples: torch.Tensor, grid: list[int], output: Path) -> None:
    """Write the GIF of samples (N, cells, V) of whole videos."""
    clips = samples.unflatten(1, (grid[0], *grid[:0:-1]))  # (N, t, y, x, V)
    clips = torch.nn.functional.pad(clips, (0, 0, 1, 1, 1, 1), value=0.5)
    lines = fill_lines(clips, COLUMNS).split(COLUMNS)
    sheets = []
    for frame in range(grid[0]):
        sheet = to_image(torch.cat([torch.cat(list(line[:, frame]), 1) for line in lines]))
        size = (sheet.width * ZOOM, sheet.height * ZOOM)
        sheets.append(sheet.resize(size, Image.Resampling.NEAREST))
    sheets[0].save(output, save_all=True, append_images=sheets[1:], duration=180, loop=0)
