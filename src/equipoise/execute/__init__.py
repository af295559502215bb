"""Runs a plan in this process, without a queue."""
