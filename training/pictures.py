"""Pictures that show how a training goes."""

import torch
from PIL import Image
from torch import Tensor

from signals.image import to_image
from signals.places import cell_positions, values_at_cells


@torch.no_grad()
def sample_grid(model, values: Tensor, contexts: list[int], num_steps: int = 64, seed: int = 0, zoom: int = 3) -> Image:
    """Rows of K: for each image (N, y, x, V) the observed pixels, the mean image and one sample; the truth on top."""
    generator = torch.Generator(values.device).manual_seed(seed)
    number, height, width, channels = values.shape
    cells = torch.rand(number, height * width, generator=generator, device=values.device).argsort(-1)
    grid = [width, height]
    blank = torch.full_like(values, 0.5)
    rows = [torch.stack((values, blank, blank), 1)]
    for context in contexts:
        known, hidden = cells[:, :context], cells[:, context:]
        queries = cell_positions(grid, hidden)
        positions, observed = cell_positions(grid, known), values_at_cells(values, known)
        mean = model.predict(positions, observed, queries).mean
        sample = model.sample(positions, observed, queries, num_steps=num_steps, generator=generator)[0]
        shown = blank.flatten(1, 2).scatter(1, known[..., None].expand(-1, -1, channels), observed)
        index = hidden[..., None].expand(-1, -1, channels)
        triple = [shown, shown.scatter(1, index, mean), shown.scatter(1, index, sample)]
        triple = [part.view(number, height, width, channels) for part in triple]
        rows.append(torch.stack(triple, 1))
    sheet = torch.stack(rows)  # (rows, N, 3, y, x, V)
    sheet = sheet.permute(0, 3, 1, 2, 4, 5).reshape(len(rows) * height, number * 3 * width, channels)
    picture = to_image(sheet)
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
