"""The machine and the libraries that a measurement is bound to."""

from __future__ import annotations

from equipoise.core.noun import Noun


class Environment(Noun):
    """What a measured figure depends on besides the model.

    Attributes:
        cpu_model: As the operating system names it.
        cpu_flags: The instruction sets that matter to inference, sorted.
        cores: Cores this process may use: its affinity, bounded by its cgroup's quota, rounded down, at least 1.
        memory_bytes: Memory this process may use: the machine's, bounded by its cgroup's limit.
        system: Operating system and architecture.
        python: Version of Python.
        libraries: Versions of the libraries that compute.
    """

    cpu_model: str
    cpu_flags: tuple[str, ...]
    cores: int
    memory_bytes: int
    system: str
    python: str
    libraries: dict[str, str]
