"""Conformance suites that anyone's plug-in can run."""
