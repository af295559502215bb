"""Equipoise finds the cheapest way to serve a model that still does its job, proves it, and serves it."""
