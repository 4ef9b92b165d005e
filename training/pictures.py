"""Pictures that show how a training goes."""

import torch
from PIL import Image

from signals.base import Batch, Signal

MAX_QUERIES = 4096  # larger grids show no samples: drawing them would hold up the training


@torch.no_grad()
def sample_sheet(
    model, signal: Signal, batch: Batch, contexts: list[int], num_steps: int = 64, seed: int = 0, zoom: int = 3
) -> Image.Image:
    """Rows of K: for each signal what is observed, the mean, and one joint sample; the truth on top."""
    grid, device = model.config.native_grid, model.device
    generator = torch.Generator(device).manual_seed(seed)
    positions = signal.positions(grid).to(device)  # (cells, P)
    truth = signal.grid_values(batch, grid).to(device)
    number, cells = truth.shape[:2]
    order = torch.rand(number, cells, generator=generator, device=device).argsort(-1)
    unknown = torch.full_like(truth, float("nan"))
    blanks = 2 if cells <= MAX_QUERIES else 1
    rows = [[(values, *[nothing] * blanks) for values, nothing in zip(truth, unknown, strict=True)]]
    for context in (context for context in contexts if context < cells):
        known, hidden = order[:, :context], order[:, context:]
        observed = truth.gather(1, known[..., None].expand(-1, -1, truth.shape[-1]))
        mean = model.predict(positions[known], observed, positions[hidden]).mean
        shown = unknown.scatter(1, known[..., None].expand_as(observed), observed)
        index = hidden[..., None].expand_as(mean)
        pictures = [shown, shown.scatter(1, index, mean)]
        if cells <= MAX_QUERIES:
            sample = model.sample(
                positions[known], observed, positions[hidden], num_steps=num_steps, generator=generator
            )[0]
            pictures.append(shown.scatter(1, index, sample))
        rows.append(list(zip(*pictures, strict=True)))
    pictures = [[signal.render(values, grid) for entry in row for values in entry] for row in rows]
    width, height = pictures[0][0].size
    columns = max(len(row) for row in pictures)
    sheet = Image.new("RGB", (columns * width, len(pictures) * height), "white")
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            sheet.paste(picture.convert("RGB"), (x * width, y * height))
    zoom = max(1, min(zoom, 3000 // sheet.width))
    return sheet.resize((sheet.width * zoom, sheet.height * zoom), Image.Resampling.NEAREST)
