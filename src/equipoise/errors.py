"""Every exception that Equipoise raises on purpose.

    EquipoiseError
    ├── InputError              what a person gave cannot be used; the command line exits 2
    │   ├── BriefError          an option or a key of the brief
    │   ├── ModelError          a model file
    │   ├── DataError           a data file
    │   └── BundleError         a bundle that is damaged or not one
    ├── ConversionError         a converted model does not answer like its source
    ├── BaselineError           the model under study itself could not be measured
    ├── TechniqueError          a technique does not apply to this model, or could not finish
    ├── SandboxError            a child process that did not finish its call
    │   ├── ChildCrashed        it died or raised
    │   ├── ChildTimedOut       it passed its time limit
    │   └── ChildOverMemory     it passed its memory cap
    └── ServeError              a request that was not answered; a transport maps each kind to its own status
        ├── NotFound            no such model or version
        ├── BadRequest          the request itself cannot be used
        ├── Unauthorized        it needs a key that is known
        ├── Forbidden           its key may not do that
        ├── RateLimited         its key was used too often
        ├── Overloaded          refused at once, since it would be answered too late
        ├── DeadlineExceeded    its deadline passed before its answer was there
        ├── Unavailable         nothing serves it now: shutting down, or a stage is down
        └── StageFailed         a stage failed on the request, which is not to blame

An `InputError` always says what was found, what is needed, and what to do next; its message is meant for the person.
"""

from __future__ import annotations


class EquipoiseError(Exception):
    """The root: catch it to catch everything that Equipoise raises on purpose."""


class InputError(EquipoiseError):
    """What a person gave cannot be used.

    Args:
        where: The file, option or key that is at fault.
        found: What it holds, with values and units.
        needed: What would have been accepted, and what to do next.
    """

    def __init__(self, where: str, found: str, needed: str) -> None:
        super().__init__(where, found, needed)
        self.where = where
        self.found = found
        self.needed = needed

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; {self.needed}"


class BriefError(InputError):
    """An option or a key of the brief cannot be used."""


class ModelError(InputError):
    """A model file cannot be used."""


class DataError(InputError):
    """A data file cannot be used."""


class BundleError(InputError):
    """A bundle is damaged, changed, or not a bundle."""


class ConversionError(EquipoiseError):
    """A converted model does not answer like the model it came from.

    Args:
        output: Name of the output that differs.
        found: The difference that was measured, with units.
        allowed: The largest difference that this conversion may have.
    """

    def __init__(self, output: str, found: str, allowed: str) -> None:
        super().__init__(output, found, allowed)
        self.output = output
        self.found = found
        self.allowed = allowed

    def __str__(self) -> str:
        return f"output {self.output!r} differs from its source: {self.found} (allowed: {self.allowed})"


class BaselineError(EquipoiseError):
    """The model under study itself could not be measured, so that nothing can be compared with it."""


class TechniqueError(EquipoiseError):
    """A technique does not apply to this model, or could not finish."""


class SandboxError(EquipoiseError):
    """A child process did not finish its call.

    Args:
        message: What happened, with the figures.
        log: The last lines that the child printed.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message, log)
        self.message = message
        self.log = log

    def __str__(self) -> str:
        return self.message


class ChildCrashed(SandboxError):  # noqa: N818 - reads as what happened
    """The child died or raised an exception."""


class ChildTimedOut(SandboxError):  # noqa: N818
    """The child passed its time limit and was stopped."""


class ChildOverMemory(SandboxError):  # noqa: N818
    """The child's resident memory passed its cap and it was stopped."""


class ServeError(EquipoiseError):
    """A request was not answered; the message is meant for whoever sent it."""


class NotFound(ServeError):  # noqa: N818 - reads as what happened
    """No model of that name, or no such version of it, is served."""


class BadRequest(ServeError):  # noqa: N818
    """The request itself cannot be used: sent again as it is, it is refused again."""


class Unauthorized(ServeError):  # noqa: N818
    """It needs a key, and brought none that is known."""


class Forbidden(ServeError):  # noqa: N818
    """Whoever asks may not do that.

    Args:
        message: What was found, and what was needed.
        caller: Name of its key; null where no keys are needed.
    """

    def __init__(self, message: str, caller: str | None) -> None:
        super().__init__(message, caller)
        self.message = message
        self.caller = caller

    def __str__(self) -> str:
        return self.message


class RateLimited(ServeError):  # noqa: N818
    """Refused at once, since its key was used more often than it may be.

    Args:
        message: What was found.
        retry_after_s: Seconds after which one request may pass.
        caller: Name of its key.
    """

    def __init__(self, message: str, retry_after_s: float, caller: str) -> None:
        super().__init__(message, retry_after_s, caller)
        self.message = message
        self.retry_after_s = retry_after_s
        self.caller = caller

    def __str__(self) -> str:
        return self.message


class Overloaded(ServeError):  # noqa: N818
    """Refused at once, since it would be answered too late, or would wait behind too many rows.

    Args:
        message: What was found.
        retry_after_s: Seconds after which it may be worth trying again.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class DeadlineExceeded(ServeError):  # noqa: N818
    """The request's own deadline passed before its answer was there."""


class Unavailable(ServeError):  # noqa: N818
    """Nothing can answer it now: the server shuts down, or a stage that it needs is down."""


class StageFailed(ServeError):  # noqa: N818
    """A stage failed on a request that is not to blame: its runtime had no room, or gave what does not fit together."""
