"""The engine: several plans at once, in this process and its event loop, for whatever transport asks it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal

from numpy.typing import ArrayLike

from equipoise.errors import BadRequest, DeadlineExceeded, NotFound, Unavailable
from equipoise.serve.events import Observer
from equipoise.serve.inputs import checked_inputs, checked_outputs
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.runner import Runner
from equipoise.serve.work import Answer

Priority = Literal["normal", "high"]


class Engine:
    """Answers requests with loaded plans.

    It knows no transport and does not own the process: no signal, no event loop, no logging is touched. All of its
    methods are called from one event loop's thread; models compute in threads of their own, as many as their plan has
    lanes. An `async with` block ends with all requests answered.

    Args:
        plans: What is served; several versions of a name may be. A request that names no version gets the last one.
        observers: Are told what becomes of each request and batch.

    Raises:
        ValueError: The same version of a name twice.

    Example:
        ```python
        async with Engine([load_plan(Path("equipoise-model/bundle"), name="model")]) as engine:
            answer = await engine.infer("model", {"x": x}, deadline_s=0.1)
        ```
    """

    def __init__(self, plans: Iterable[LoadedPlan], observers: Sequence[Observer] = ()) -> None:
        self._runners: dict[str, dict[str, Runner]] = {}
        self._accepting = True
        self._ready = True
        for plan in plans:
            versions = self._runners.setdefault(plan.name, {})
            if plan.version in versions:
                raise ValueError(f"version {plan.version} of {plan.name} is given twice")
            versions[plan.version] = Runner(plan, observers)

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.drain()
        finally:
            self.close()

    @property
    def ready(self) -> bool:
        """Whether it is wise to send it requests: it answers them even after `retire`, until `drain`."""
        return self._ready

    @property
    def models(self) -> tuple[str, ...]:
        """Names that are served."""
        return tuple(self._runners)

    def versions(self, model: str) -> tuple[str, ...]:
        """Versions of a model that are served.

        Raises:
            NotFound: It is not served.
        """
        if model not in self._runners:
            raise NotFound(f"no model {model!r} is served; there is {', '.join(self._runners) or 'none'}")
        return tuple(self._runners[model])

    def plan(self, model: str, version: str | None = None) -> LoadedPlan:
        """The plan that answers for a model.

        Raises:
            NotFound: It is not served.
        """
        return self._runner(model, version).loaded

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        priority: Priority = "normal",
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Answer rows with a model's plan.

        Cancel it to leave: rows that no stage has begun are then not computed, and no other request notices.

        Args:
            model: Its name.
            inputs: Input name to array of shape [n, ...], n >= 1, in the model's types.
            version: Null for the last one.
            outputs: Names of the outputs that are wanted; null for all.
            priority: `high` is always answered by the plan's last stage, and first.
            deadline_s: Seconds from now, > 0, after which the answer is of no use any more; null for no such limit, so
                that the plan's own p99 limit decides whether the request is taken in.
            request_id: Comes back with the answer.

        Returns:
            The answer.

        Raises:
            NotFound: No such model or version.
            BadRequest: Inputs, outputs or deadline cannot be used.
            Overloaded: Refused at once, as the answer would come too late.
            DeadlineExceeded: The deadline passed.
            Unavailable: The engine no longer takes requests, or a stage is down.
            StageFailed: A runtime raised on these rows.
        """
        return await self.submit(
            model,
            inputs,
            version=version,
            outputs=outputs,
            priority=priority,
            deadline_s=deadline_s,
            request_id=request_id,
        )

    def submit(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        priority: Priority = "normal",
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> asyncio.Future[Answer]:
        """`infer` without waiting: what is wrong at once is raised at once, the rest comes through the future."""
        if not self._accepting:
            raise Unavailable("the server is shutting down and takes no more requests")
        runner = self._runner(model, version)
        feeds, n = checked_inputs(inputs, runner.loaded.opened.spec)
        wanted = checked_outputs(outputs, runner.loaded.outputs)
        if priority not in ("normal", "high"):
            raise BadRequest(f"found the priority {priority!r}; needed normal or high")
        if deadline_s is not None and not math.isfinite(deadline_s):
            raise BadRequest(f"found a deadline of {deadline_s} s; needed a number")
        if deadline_s is not None and deadline_s <= 0:
            raise DeadlineExceeded(f"the deadline passed {-deadline_s:.3g} s before the request came")
        return runner.submit(feeds, wanted, n=n, high=priority == "high", deadline_s=deadline_s, request_id=request_id)

    def retire(self) -> None:
        """Say from now on that it is not ready, and go on answering, so that balancers turn elsewhere."""
        self._ready = False

    async def drain(self) -> None:
        """Take no more requests, and wait until those that were taken have their answers."""
        self._ready = self._accepting = False
        await asyncio.gather(*(runner.drain() for runner in self._all()))

    def close(self) -> None:
        """End the threads. Requests that still wait fail as `Unavailable`."""
        self._ready = self._accepting = False
        for runner in self._all():
            runner.close()

    def _all(self) -> list[Runner]:
        return [runner for versions in self._runners.values() for runner in versions.values()]

    def _runner(self, model: str, version: str | None) -> Runner:
        versions = self.versions(model)
        if version is None:
            return self._runners[model][versions[-1]]
        if version not in versions:
            raise NotFound(f"no version {version!r} of {model!r} is served; there is {', '.join(versions)}")
        return self._runners[model][version]
