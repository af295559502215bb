"""Rows, as people bring them, to tensors; a model's outputs back to answers."""
