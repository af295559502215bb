"""Lets requests in: HTTP and gRPC over an engine, keys, TLS, limits, logs, and the process that serves."""
