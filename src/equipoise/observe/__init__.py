"""Keeps count of what an engine does: metrics, money, traces, a log of observations."""
