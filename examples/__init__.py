"""Short scripts to read and run; each is a program of its own: `python -m examples.query`."""
