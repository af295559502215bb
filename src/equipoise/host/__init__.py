"""Processes with limits, the machine's processors, quota and clock."""
