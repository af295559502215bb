"""What the model is, and whether the data is fit to judge it."""
