"""Techniques that train in torch, one a file, and the training that they share."""
