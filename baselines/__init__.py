"""Methods to compare with, on the same positions and values."""
