"""Metrics, intervals and tests, on NumPy and SciPy alone."""
