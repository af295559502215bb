"""The bundles that a server was started with: what each is doing, and how one is loaded again or taken away."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from equipoise.errors import BadRequest, EquipoiseError, NotFound
from equipoise.serve.engine import Engine
from equipoise.serve.loading import LoadedPlan, load_plan

State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepositoryEntry:
    """A version of a model, as far as it is known here.

    Attributes:
        name: Of the model.
        version: Its version.
        state: READY where it answers, even while it is loaded anew or since that failed; LOADING where it will;
            UNLOADING where it only ends what it has begun; UNAVAILABLE where it does not answer.
        reason: Why it does not, or why it could not be loaded anew; empty for nothing of the kind.
    """

    name: str
    version: str
    state: State
    reason: str = ""


class Repository:
    """Bundles that an engine serves, or could.

    Only those can be loaded that were known from the start: a request names a model, never a path.

    Args:
        sources: Name of a model to its versions, in the order in which they are loaded, and where the bundle of each
            lies.
        engine: What serves them.
        workers: Worker processes of each plan; 0 for none.
    """

    def __init__(self, sources: Mapping[str, Mapping[str, Path]], engine: Engine, workers: int = 0) -> None:
        self._sources = {name: dict(versions) for name, versions in sources.items()}
        self._engine = engine
        self._workers = workers
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changing: dict[str, Literal["LOADING", "UNLOADING"]] = {}
        self._reasons: dict[str, str] = {}
        self._loads: set[asyncio.Task[None]] = set()

    def index(self) -> list[RepositoryEntry]:
        """All versions of all models, in the order in which they were given."""
        return [self._entry(name, version) for name, versions in self._sources.items() for version in versions]

    async def load(self, name: str) -> None:
        """Read a model's bundles, verify them, and serve what they hold by now.

        All of its versions are verified before the first is served. Where one cannot be, nothing changes: what served
        before goes on. No request fails of it (`Engine.load`). Loads of a name take turns. One that was begun is ended,
        even where whoever asked for it is gone by then.

        Raises:
            NotFound: No such model was given at the start.
            BadRequest: A bundle of it cannot be served; the message says why.
            Unavailable: The engine takes no more requests.
        """
        self._require(name)
        task = asyncio.get_running_loop().create_task(self._load(name))
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)
        await asyncio.shield(task)

    async def unload(self, name: str) -> None:
        """Take a model away, with all its versions, once it has answered what it took in; it can be loaded again.

        Raises:
            NotFound: No such model was given at the start.
        """
        self._require(name)
        async with self._turns[name]:
            self._changing[name] = "UNLOADING"
            try:
                if name in self._engine.models:
                    await self._engine.unload(name)
                self._reasons[name] = "it was unloaded"
                log.info("%s was unloaded", name, extra={"event": "unloaded", "fields": {"model": name}})
            finally:
                del self._changing[name]

    async def _load(self, name: str) -> None:
        async with self._turns[name]:
            self._changing[name] = "LOADING"
            try:
                plans = await self._verified(name)
                await asyncio.gather(*(self._engine.load(plan) for plan in plans))
                self._reasons.pop(name, None)
                log.info("%s was loaded anew", name, extra={"event": "loaded", "fields": {"model": name}})
            finally:
                del self._changing[name]

    async def _verified(self, name: str) -> list[LoadedPlan]:
        """A model's plans, all or none."""
        plans: list[LoadedPlan] = []
        try:
            for version, folder in self._sources[name].items():
                plans.append(await _loaded(folder, name, version, self._workers))
        except BaseException as error:
            for plan in plans:
                plan.close()
            if not isinstance(error, EquipoiseError | OSError):
                raise
            self._reasons[name] = f"it could not be loaded: {error}"
            about = {"event": "not_loaded", "fields": {"model": name}}
            log.warning("%s could not be loaded: %s", name, error, extra=about)
            goes_on = "; what served before goes on" if name in self._engine.models else ""
            raise BadRequest(f"{name} could not be loaded: {error}{goes_on}") from error
        return plans

    def _require(self, name: str) -> None:
        if name not in self._sources:
            raise NotFound(f"no model {name!r} is known here; there is {', '.join(self._sources) or 'none'}")

    def _entry(self, name: str, version: str) -> RepositoryEntry:
        changing, reason = self._changing.get(name), self._reasons.get(name, "")
        if changing == "UNLOADING":
            return RepositoryEntry(name, version, "UNLOADING")
        if name in self._engine.models and version in self._engine.versions(name):
            trouble = self._engine.trouble(name, version)
            return RepositoryEntry(name, version, "UNAVAILABLE" if trouble else "READY", trouble or reason)
        if changing == "LOADING":
            return RepositoryEntry(name, version, "LOADING")
        return RepositoryEntry(name, version, "UNAVAILABLE", reason or "it is not loaded")


async def _loaded(folder: Path, name: str, version: str, workers: int) -> LoadedPlan:
    """Load a plan in a thread; one that nobody waits for any more is closed."""
    loading = asyncio.get_running_loop().run_in_executor(None, load_plan, folder, name, version, workers)
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        loading.add_done_callback(_close)
        raise


def _close(loading: asyncio.Future[LoadedPlan]) -> None:
    if not loading.cancelled() and loading.exception() is None:
        loading.result().close()
