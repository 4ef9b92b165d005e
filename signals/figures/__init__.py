"""Pictures of signals and of what a checkpoint infers of them, one module for each kind that is shipped."""
