"""The whole loop as a few plain functions; the only place where the steps are wired together."""
