"""Opens models in child processes."""

from __future__ import annotations

from collections.abc import Mapping

from equipoise.compose.actions import Config
from equipoise.core.profile import Settings
from equipoise.host.sandbox import Sandbox
from equipoise.measure.session import open_session
from equipoise.runtimes.base import Array
from equipoise.store.study import StudyFolder

OPEN_TIMEOUT_S = 120.0


def open_child(
    config: Config,
    settings: Settings,
    sample: Mapping[str, Array],
    study: StudyFolder,
    log: str,
    *,
    memory_cap_bytes: int | None = None,
    timeout_s: float = OPEN_TIMEOUT_S,
) -> Sandbox:
    """A process of its own in which a config is open, and has answered a row.

    Args:
        config: What is opened.
        settings: Where and how it runs.
        sample: Real rows to time with, input name to [n, ...].
        study: Holds the artifact, and the log.
        log: Name of the log that receives what the process prints.
        memory_cap_bytes: Largest resident size; null for the default.
        timeout_s: Longest that opening may take.

    Returns:
        The process, which the caller ends.

    Raises:
        SandboxError: It crashed, hung, or took too much memory.
        EquipoiseError: The artifact could not be opened.
    """
    child = Sandbox(study.log(log), memory_cap_bytes)
    try:
        place = study.artifact(config.variant.artifact)
        child.call(open_session, config.runtime, place, settings, sample, timeout_s=timeout_s)
    except BaseException:
        child.close()
        raise
    return child
