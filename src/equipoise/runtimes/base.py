"""What every runtime does: open an artifact in a setting, and answer batches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from equipoise.core.environment import Environment
from equipoise.core.profile import Precision, Settings
from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import Format

Array = NDArray[Any]


class Session(Protocol):
    """An opened artifact.

    `settings.replicas` threads may call `run` at the same time; the answers do not depend on it.
    """

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        """Turn named arrays of shape [n, ...] into what the library takes (a DataFrame, say). Not timed."""

    def run(self, prepared: Any) -> dict[str, Array]:
        """Answer one batch: output name to array of shape [n, ...]."""


class Runtime(Protocol):
    """Opens artifacts.

    One that compiles for long before it answers says so by an attribute `compiles = True`: a search tries it last.

    Attributes:
        name: Registered name.
        formats: Formats of artifact that it opens.
    """

    name: ClassVar[str]
    formats: ClassVar[tuple[Format, ...]]

    def precisions(self, format: Format, quantized: bool, environment: Environment) -> tuple[Precision, ...]:  # noqa: A002
        """Precisions in which it can run such an artifact on such a machine, the artifact's own first."""

    def open(self, artifact: Path, settings: Settings) -> Session:
        """Open the artifact in that folder in that setting.

        Raises:
            ModelError: The file cannot be opened.
        """
