"""Chairs and tables built from boxes, as examples of the 3D tab."""

from functools import lru_cache

import trimesh

# Boxes as (centre x, y, z), (size x, y, z); z up.
LEGS = [((x, y, -0.5), (0.09, 0.09, 0.9)) for x in (-0.38, 0.38) for y in (-0.38, 0.38)]
SEAT = ((0, 0, 0), (0.9, 0.9, 0.12))
SHAPES = {
    "Chair": [SEAT, ((0, 0.4, 0.5), (0.9, 0.1, 0.95)), *LEGS],
    "Armchair": [
        ((0, 0, -0.2), (1.0, 0.9, 0.5)),
        ((0, 0.42, 0.3), (1.0, 0.18, 0.9)),
        ((-0.5, -0.03, 0.05), (0.16, 0.9, 0.75)),
        ((0.5, -0.03, 0.05), (0.16, 0.9, 0.75)),
    ],
    "Ladder-back": [
        SEAT,
        *[((x, 0.4, 0.5), (0.08, 0.08, 1.0)) for x in (-0.38, 0.38)],
        *[((0, 0.4, z), (0.8, 0.06, 0.13)) for z in (0.35, 0.62, 0.9)],
        *LEGS,
    ],
    "Stool": [SEAT, *LEGS, ((0, 0, -0.65), (0.76, 0.07, 0.07)), ((0, 0, -0.5), (0.07, 0.76, 0.07))],
    "Table": [
        ((0, 0, 0), (1.6, 1.0, 0.1)),
        *[((x, y, -0.4), (0.1, 0.1, 0.75)) for x in (-0.7, 0.7) for y in (-0.4, 0.4)],
    ],
}


@lru_cache
def shape(name: str) -> trimesh.Trimesh:
    """One of `SHAPES` as a mesh; its boxes overlap."""
    boxes = []
    for center, extents in SHAPES[name]:
        box = trimesh.creation.box(extents)
        box.apply_translation(center)
        boxes.append(box)
    return trimesh.util.concatenate(boxes)
