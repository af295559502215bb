"""Requests on which a stage raised, until it is known who is to blame: their rows, or the stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from equipoise.errors import BadRequest, ServeError, StageFailed
from equipoise.serve.inputs import holds_missing
from equipoise.serve.work import Work

NO_ROOM = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "can't allocate",
    "cannot allocate",
    "not enough memory",
)
"""What native runtimes say where they had no room for a batch, which is no fault of its rows."""
NATIVE = ("onnxruntime", "openvino", "torch")


def lacks_room(error: Exception) -> bool:
    """Whether a runtime raised for want of memory.

    What Python code says may quote the rows, and is not looked at.

    Example:
        >>> lacks_room(RuntimeError("std::bad_alloc")), lacks_room(ValueError("the category 'std::bad_alloc'"))
        (True, False)
    """
    kind = type(error)
    native = kind is RuntimeError or kind.__module__.partition(".")[0] in NATIVE
    return isinstance(error, MemoryError) or (native and any(words in str(error).lower() for words in NO_ROOM))


class Blame:
    """Holds such requests, and tells them once the stage has answered somebody else, or has not.

    Args:
        plan: Name of the plan.
        names: What each stage is called.
        fail: Ends a request with an error.
        stand_in: Answers a request as a stage that cannot run does: stage, time, why.
    """

    def __init__(
        self,
        plan: str,
        names: Sequence[str],
        fail: Callable[[Work, ServeError], object],
        stand_in: Callable[[Work, int, float, str], object],
    ) -> None:
        self._plan = plan
        self._names = names
        self._fail = fail
        self._stand_in = stand_in
        self._held: list[list[tuple[Work, Exception]]] = [[] for _ in names]

    def raised(self, stage: int, work: Work, error: Exception, *, answers: bool) -> None:
        """A stage raised on a request: tell it, or hold it.

        Args:
            stage: Which.
            work: The request.
            error: What it raised.
            answers: Whether it answered others in the same batch.
        """
        if lacks_room(error):
            self._fail(work, self.failed(stage, error))
        elif answers:
            self._fail(work, self._refused(stage, work, error))
        else:
            self._held[stage].append((work, error))

    def judge(self, stage: int, why: str | None, now_s: float) -> None:
        """Tell those that are held, once the stage was asked what it is known to answer, or cannot be.

        Args:
            stage: Which.
            why: Why it did not answer that either; null where it did.
            now_s: The time.
        """
        held, self._held[stage] = self._held[stage], []
        for work, error in held:
            if work.over:
                continue
            if why is None:
                self._fail(work, self._refused(stage, work, error))
            else:
                self._stand_in(work, stage, now_s, why)

    def let_go(self) -> list[Work]:
        """Those that are held, who will not be told here any more."""
        found = [work for held in self._held for work, _ in held if not work.over]
        self._held = [[] for _ in self._names]
        return found

    def failed(self, stage: int, error: Exception) -> StageFailed:
        """What is told of an error that is not the request's fault."""
        found = StageFailed(f"{self._said(stage)} ({type(error).__name__}: {error})")
        found.__cause__ = error
        return found

    def _refused(self, stage: int, work: Work, error: Exception) -> BadRequest:
        name = holds_missing(work.feeds)
        missing = f"; input {name!r} holds missing or infinite values, which it may not take" if name else ""
        said = f"{self._said(stage)}, while it answers others ({type(error).__name__}: {error}){missing}"
        found = BadRequest(said)
        found.__cause__ = error
        return found

    def _said(self, stage: int) -> str:
        return f"{self._names[stage]} of {self._plan} failed on this request"
