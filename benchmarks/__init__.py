"""Speed and memory, side by side in one process run."""
