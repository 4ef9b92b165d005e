"""Faults, bad input and load, one module each; `python -m benchmarks.reliability` writes docs/RELIABILITY.md."""
