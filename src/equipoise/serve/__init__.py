"""Answers requests with a bundle's plan: an engine that knows no transport and owns no process."""

from equipoise.serve.engine import Engine
from equipoise.serve.loading import LoadedPlan, load_plan
from equipoise.serve.work import Answer

__all__ = ["Answer", "Engine", "LoadedPlan", "load_plan"]
