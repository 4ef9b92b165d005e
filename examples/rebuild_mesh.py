"""Rebuild a mesh from a few signed distances: `python -m examples.rebuild_mesh chair.obj --points 64`.

Without a file a table made of boxes is taken. Writes the truth, the likely surface and sampled surfaces as GLB files.
"""

import argparse
import sys
from pathlib import Path

import torch
import trimesh
from transformers import AutoModel

from pixeltransformer.checks import check_count
from signals.mesh import mesh_to_sdf, normalize, read_mesh, save_mesh, sdf_to_mesh
from signals.overlap import likely_distances
from signals.shape import Shapes
from signals.shape_samples import DRAWN, STEPS, sample_shapes


def table() -> trimesh.Trimesh:
    """A watertight table: a board on four legs."""
    board = trimesh.creation.box(extents=(1.4, 1.0, 0.16), transform=translation(0, 0, 0.3))
    legs = [
        trimesh.creation.box(extents=(0.16, 0.16, 1.0), transform=translation(x, y, -0.25))
        for x in (-0.6, 0.6)
        for y in (-0.4, 0.4)
    ]
    return trimesh.util.concatenate([board, *legs])


def translation(*offset: float):
    return trimesh.transformations.translation_matrix(offset)


def rebuild(arguments: argparse.Namespace) -> None:
    model = AutoModel.from_pretrained(arguments.checkpoint, trust_remote_code=True).eval()
    if model.config.signal != "shape":
        raise ValueError(f"--checkpoint: expected one for shapes, got one for {model.config.signal}s")
    grid, (low, high) = model.config.native_grid, model.config.value_range
    mesh = normalize(read_mesh(arguments.mesh) if arguments.mesh else table())
    sdf = mesh_to_sdf(mesh, grid).clamp(low, high)
    generator = torch.Generator().manual_seed(arguments.seed)
    signal = Shapes(dataset_name="mesh", near_surface=arguments.near_surface)
    positions, values = signal.pairs(sdf[None], arguments.points, generator)
    everywhere = model.native_positions()
    fields = {"truth": sdf, "likely": likely_distances(model.predict(positions, values, everywhere)[0])}
    # A few hundred drawn values settle the shape; the rest is what is likely given them.
    options = (arguments.samples, arguments.drawn, arguments.steps)
    *_, samples = sample_shapes(model, positions, values, everywhere, *options, generator=generator)
    fields |= {f"sample-{number}": sample for number, sample in enumerate(samples, 1)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, field in fields.items():
        surface = sdf_to_mesh(field.view(*grid[::-1], 1))
        if surface is None:
            print(f"{name}: no surface; give more points")
            continue
        save_mesh(surface, arguments.output / f"{name}.glb")
        print(arguments.output / f"{name}.glb", f"{len(surface.faces):,} triangles")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mesh", nargs="?", help="watertight mesh file; default: a table made of boxes")
    parser.add_argument("--checkpoint", default="checkpoints/chairs", help="checkpoint folder or Hub id")
    parser.add_argument("--points", type=int, default=64, help="observed signed distances")
    parser.add_argument("--near_surface", type=float, default=0.5, help="share of them close to the surface")
    parser.add_argument("--samples", type=int, default=2, help="sampled surfaces")
    parser.add_argument("--drawn", type=int, default=DRAWN, help="values drawn; the others are likely given them")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps in which they are drawn")
    parser.add_argument("--seed", type=int, default=0, help="seed of points and samples")
    parser.add_argument("--output", type=Path, default=Path("runs/mesh"), help="folder for the GLB files")
    try:
        given = parser.parse_args(argv)
        for name in ("points", "samples", "drawn", "steps"):
            check_count(f"--{name}", getattr(given, name), int(name != "points"))
        rebuild(given)
    except (ValueError, OSError) as error:
        sys.exit(f"rebuild_mesh: {error}")


if __name__ == "__main__":
    main()
