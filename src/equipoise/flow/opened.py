"""Models that are open in child processes: one is kept for the next action, and each is checked when it is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from equipoise.compose.servable import Config, Servable
from equipoise.compress.base import Fidelity
from equipoise.compress.conversion import check_conversion
from equipoise.core.profile import Settings
from equipoise.core.variant import Variant
from equipoise.flow.children import OPEN_TIMEOUT_S, answers_of, open_child
from equipoise.flow.material import Material
from equipoise.host.sandbox import Sandbox
from equipoise.preprocess.rows import Rows
from equipoise.store.study import StudyFolder

Array = NDArray[Any]
CHECK_ROWS, CHECK_BATCH = 256, 16


class OpenedModels:
    """Opens what a study times and asks.

    Args:
        study: Where artifacts and logs are kept.
        material: What is worked on.
        sample: Real rows to time with, input name to [n, ...].
    """

    def __init__(self, study: StudyFolder, material: Material, sample: Mapping[str, Array]) -> None:
        self._study = study
        self._material = material
        self._sample = sample
        self._kept: tuple[tuple[str, Settings], Sandbox] | None = None
        self._checks: dict[str, dict[str, Array]] = {}

    def close(self) -> None:
        """End the child that is kept."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def child(self, config: Servable, settings: Settings, remaining_s: float) -> Sandbox:
        """The child in which a config is open; it opens one where another is.

        A single model is open for batches of any size; the later stages of a composition answer in the batches of its
        settings. The first time that a config is opened, its answers are compared with its variant's.

        Raises:
            SandboxError: It crashed, hung, or took too much memory.
            EquipoiseError: It cannot be opened, or answers something else.
        """
        if isinstance(config, Config):
            settings = settings.model_copy(update={"batch": 1})
        key = (config.content_digest, settings)
        if self._kept is None or self._kept[0] != key:
            self.close()
            child = self._open(config, settings, remaining_s, memory_cap_bytes=self.memory_cap(config))
            try:
                if isinstance(config, Config):  # the parts of a composition were checked each
                    self._check(config, child, remaining_s)
            except BaseException:
                child.close()
                raise
            self._kept = (key, child)
        return self._kept[1]

    def check_built(self, variant: Variant, parent: Variant, fidelity: Fidelity, remaining_s: float) -> None:
        """Compare a new variant's answers with those of what it was made from.

        Raises:
            EquipoiseError: It answers something else than its technique promises.
        """
        answers = self._alone(variant, remaining_s)
        check_conversion(self._reference(parent, remaining_s), answers, fidelity)
        self._checks[variant.artifact] = answers

    def ask_alone(self, config: Config, rows: Rows, batch: int, remaining_s: float) -> dict[str, Array]:
        """Answers whose speed and memory do not count: all cores for one batch at a time."""
        settings = Settings(
            runtime=config.runtime, precision=config.precision, threads=self._material.cores, replicas=1, batch=1
        )
        with self._open(config, settings, remaining_s, memory_cap_bytes=None) as child:
            return answers_of(child, rows, batch, max(5.0, remaining_s))

    def memory_cap(self, config: Servable) -> int | None:
        """The brief's limit, for everything but the baseline, which must be measured whatever it takes."""
        return None if config == self._material.baseline else self._material.limits.memory_bytes

    def _open(
        self, config: Servable, settings: Settings, remaining_s: float, *, memory_cap_bytes: int | None
    ) -> Sandbox:
        return open_child(
            config,
            settings,
            self._sample,
            self._study,
            f"run-{config.content_digest[:16]}",
            memory_cap_bytes=memory_cap_bytes,
            timeout_s=max(5.0, min(remaining_s, OPEN_TIMEOUT_S)),
        )

    def _check(self, config: Config, child: Sandbox, remaining_s: float) -> None:
        """Compare a config's answers with its variant's in the native runtime, the first time it is opened."""
        if config.content_digest in self._checks or config == self._material.native(config.variant):
            return
        # Runtimes round the integers of one quantised graph differently.
        fidelity: Fidelity = "exact" if config.precision in ("f32", "f64") else "lossy"
        answers = answers_of(child, self._check_rows, CHECK_BATCH, max(5.0, remaining_s))
        check_conversion(self._reference(config.variant, remaining_s), answers, fidelity)
        self._checks[config.content_digest] = {}

    def _reference(self, variant: Variant, remaining_s: float) -> dict[str, Array]:
        """A variant's own answers to the check rows, in its native runtime."""
        if variant.artifact not in self._checks:
            self._checks[variant.artifact] = self._alone(variant, remaining_s)
        return self._checks[variant.artifact]

    def _alone(self, variant: Variant, remaining_s: float) -> dict[str, Array]:
        return self.ask_alone(self._material.native(variant), self._check_rows, CHECK_BATCH, remaining_s)

    @property
    def _check_rows(self) -> Rows:
        return self._material.calibration.take(slice(0, CHECK_ROWS))
