"""The parts of training that are not the loop: arguments, batches, optimisers, validation, and the model card."""
