"""The engine: several plans at once, in this process and its event loop, for whatever transport asks it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Literal

from numpy.typing import ArrayLike

from equipoise.errors import BadRequest, DeadlineExceeded, NotFound, Unavailable
from equipoise.host.environment import cores as usable_cores
from equipoise.serve.cores import CoreBudget
from equipoise.serve.events import Audience, Observer
from equipoise.serve.inputs import checked_outputs
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.lull import Lull
from equipoise.serve.runner import Runner
from equipoise.serve.work import Answer

SHUTTING_DOWN = "the server is shutting down and takes no more requests"
Priority = Literal["normal", "high"]


class Engine:
    """Answers requests with loaded plans.

    It knows no transport and does not own the process: no signal, no event loop, no logging is touched. It is made, and
    all of its methods are called, in one event loop's thread; models compute in threads of their own, as many as their
    plan has lanes, or in worker processes, but for batches that take less time than handing them over does. All plans
    share the cores that this process may use: a batch starts when there are enough for its threads, first come, first
    served. An `async with` block ends with all requests answered.

    Args:
        plans: What is served; several versions of a name may be. A request that names no version gets the last one that
            was loaded and is still there.
        observers: Are told what becomes of each request and batch.
        cores: Cores for batches; null for all that this process may use.
        lull_s: Seconds for which the loop may stand still while models have every core (`serve.lull`): for a loop that
            does nothing else. 0 for not at all.

    Raises:
        ValueError: The same version of a name twice.

    Example:
        ```python
        async with Engine([load_plan(Path("equipoise-model/bundle"), name="model")]) as engine:
            answer = await engine.infer("model", {"x": x}, deadline_s=0.1)
        ```
    """

    def __init__(
        self,
        plans: Iterable[LoadedPlan] = (),
        observers: Sequence[Observer] = (),
        cores: int | None = None,
        lull_s: float = 0.0,
    ) -> None:
        self._runners: dict[str, dict[str, Runner]] = {}
        self._leaving: dict[asyncio.Task[None], Sequence[Runner]] = {}
        self._audience = Audience(observers)
        self._cores = CoreBudget(cores or usable_cores())
        self._lull = Lull(self._cores, lull_s)
        self._accepting = True
        self._retired = False
        for plan in plans:
            versions = self._runners.setdefault(plan.name, {})
            if plan.version in versions:
                raise ValueError(f"version {plan.version} of {plan.name} is given twice")
            versions[plan.version] = self._runner_of(plan)

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
        """Whether it is wise to send it requests: it was not retired, and every model answers."""
        return self.trouble() is None

    @property
    def retired(self) -> bool:
        """Whether it is about to end; it answers even then, until `drain`."""
        return self._retired

    def model_ready(self, model: str, version: str | None = None) -> bool:
        """Whether it is wise to send it requests for a model.

        Raises:
            NotFound: It is not served.
        """
        return self.trouble(model, version) is None

    def trouble(self, model: str | None = None, version: str | None = None) -> str | None:
        """Why it is not ready, or why one of its models is not; null where it is.

        A plan with a stage that cannot run is ready as long as its fallback stands in, and one with several worker
        processes as long as one of them lives.

        Raises:
            NotFound: That model is not served.
        """
        asked = self._all() if model is None else [self._runner(model, version)]
        if self._retired:
            return "the server is shutting down"
        troubles = (f"{runner.loaded.name}: {runner.trouble}" for runner in asked if runner.trouble is not None)
        return next(troubles, None)

    def waiting_rows(self, model: str, version: str | None = None) -> tuple[int, ...]:
        """Rows that wait for each of `Plan.all_stages` of a model.

        Raises:
            NotFound: It is not served.
        """
        return self._runner(model, version).waiting_rows

    @property
    def pids(self) -> tuple[int, ...]:
        """Ids of the worker processes that live, of all plans: their memory is this engine's too."""
        return tuple(pid for runner in self._all() for pid in runner.loaded.pids)

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
            StageFailed: A runtime had no room for these rows.
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
            raise Unavailable(SHUTTING_DOWN)
        runner = self._runner(model, version)
        feeds, n = runner.checked_inputs(inputs)
        wanted = checked_outputs(outputs, runner.loaded.outputs) if outputs else runner.loaded.output_names
        if priority not in ("normal", "high"):
            raise BadRequest(f"found the priority {priority!r}; needed normal or high")
        if deadline_s is not None and not math.isfinite(deadline_s):
            raise BadRequest(f"found a deadline of {deadline_s} s; needed a number")
        if deadline_s is not None and deadline_s <= 0:
            raise DeadlineExceeded(f"the deadline passed {-deadline_s:.3g} s before it could be queued")
        return runner.submit(feeds, wanted, n=n, high=priority == "high", deadline_s=deadline_s, request_id=request_id)

    def early_refusal(self, model: str, version: str | None = None) -> Callable[[], None] | None:
        """What refuses a request before it is read, if it is certain to be refused: see `Runner.refuse_early`.

        Whoever is overloaded should spend on refusing what is left of its time after answering.

        Returns:
            Null unless the model refused requests just now; what is returned raises as `submit` does, or nothing.

        Raises:
            NotFound: No such model or version.
            Unavailable: The engine takes no more requests.
        """
        runner = self._runner(model, version)
        if not runner.pressed:
            return None
        if not self._accepting:
            raise Unavailable(SHUTTING_DOWN)
        return runner.refuse_early

    async def load(self, plan: LoadedPlan) -> None:
        """Serve a plan from now on, instead of the one that has its name and version, if there is one.

        No request fails of it: those that come from now on get the new plan, those that the old one has taken in are
        answered by that. It then ends, and so does this call. Where this call is cancelled the plan is served all the
        same, and the old one ends when it has answered. The plan is the engine's from now on, whatever happens.

        Raises:
            Unavailable: The engine takes no more requests.
        """
        if not self._accepting:
            plan.close()
            raise Unavailable("the server is shutting down and loads nothing any more")
        try:
            runner = self._runner_of(plan)
        except BaseException:
            plan.close()
            raise
        versions = self._runners.setdefault(plan.name, {})
        old = versions.pop(plan.version, None)
        versions[plan.version] = runner
        if old is not None:
            await self._leave([old])

    async def unload(self, model: str, version: str | None = None) -> None:
        """Serve a model no more: requests that come from now on are not taken, those that were are answered.

        Args:
            model: Its name.
            version: Null for all of its versions.

        Raises:
            NotFound: It is not served.
        """
        versions = self._runners[model] if version is None and model in self._runners else {}
        leaving = list(versions.values()) or [self._runner(model, version)]
        for runner in leaving:
            del self._runners[model][runner.loaded.version]
        if not self._runners[model]:
            del self._runners[model]
        await self._leave(leaving)

    def retire(self) -> None:
        """Say from now on that it is not ready, and go on answering, so that balancers turn elsewhere."""
        self._retired = True

    async def drain(self) -> None:
        """Take no more requests, and wait until those that were taken have their answers."""
        self._retired, self._accepting = True, False
        await asyncio.gather(*(runner.drain() for runner in self._all()), *self._leaving)

    def close(self) -> None:
        """End threads and worker processes. Requests that still wait fail as `Unavailable`."""
        self._retired, self._accepting = True, False
        for runner in chain(self._all(), *self._leaving.values()):
            runner.close()

    async def _leave(self, runners: Sequence[Runner]) -> None:
        """Answer what plans have taken in, and end them: even where whoever asked for it is gone by then."""
        task = asyncio.get_running_loop().create_task(_ended(runners))
        self._leaving[task] = runners
        task.add_done_callback(self._leaving.pop)
        await asyncio.shield(task)

    def _runner_of(self, plan: LoadedPlan) -> Runner:
        return Runner(plan, self._audience, self._cores, self._lull)

    def _all(self) -> list[Runner]:
        return [runner for versions in self._runners.values() for runner in versions.values()]

    def _runner(self, model: str, version: str | None) -> Runner:
        runners = self._runners.get(model, {})
        runner = next(reversed(runners.values()), None) if version is None else runners.get(version)
        if runner is not None:
            return runner
        versions = self.versions(model)
        raise NotFound(f"no version {version!r} of {model!r} is served; there is {', '.join(versions)}")


async def _ended(runners: Sequence[Runner]) -> None:
    try:
        await asyncio.gather(*(runner.drain() for runner in runners))
    finally:
        for runner in runners:
            runner.close()
