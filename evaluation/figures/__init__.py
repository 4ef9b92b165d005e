"""Pictures of what a checkpoint infers, one module for each kind of signal."""
