"""Training the autoregressive models of the field and comparing them in one table (`python -m baselines.field`)."""
