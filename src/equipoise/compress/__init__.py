"""Simpler forms of a model: one technique a file; `build.py` makes a variant of a recipe."""
