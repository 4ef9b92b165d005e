"""Kinds of signals: where their data comes from, and how positions and values are read off them."""
