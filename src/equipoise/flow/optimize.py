"""The main job: from a model and data to a certified, cheaper way to serve it."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from equipoise.compose.actions import Action, Answer, Answered, Best, Build, Compose, Outcome, Reply, Speed
from equipoise.compose.choice import Choice
from equipoise.compose.facts import SearchFacts, WantedDistrust
from equipoise.compose.solve import solve
from equipoise.core.brief import Brief
from equipoise.core.noun import Noun
from equipoise.core.result import Result
from equipoise.errors import BaselineError, BriefError, InputError, ModelError
from equipoise.flow.answer import write_answer
from equipoise.flow.prepare import Prepared, prepare
from equipoise.flow.progress import Progress, Watcher, nobody_watches
from equipoise.flow.training import trains
from equipoise.flow.workbench import Workbench
from equipoise.host.environment import environment
from equipoise.ingest.brief import brief_from_options, brief_from_toml
from equipoise.ingest.factory import factory_file, is_factory
from equipoise.ingest.huggingface_folder import HUB
from equipoise.ingest.openvino import model_files
from equipoise.registry import runtimes, techniques
from equipoise.store.artifacts import artifact_digest
from equipoise.store.openings import check_register, open_certify
from equipoise.store.study import StudyFolder, alone_in

STUDY = "study"
BRIEF = "brief.json"
BEST = "best.json"
FINISH_SHARE, MOST_FINISH_S = 0.05, 10.0
"""Share of the budget that is kept back for writing the answer, and the most of it."""


TRUSTED_FROM = 0.5
"""Probability of being right from which on an answer is trusted, where the person says nothing else."""


class Interrupted(KeyboardInterrupt):
    """The person stopped a study.

    Args:
        folder: Where it can be gone on with; null where it had not begun.
    """

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.folder = folder


def optimize_from(
    source: Path | None,
    options: Mapping[str, Any],
    *,
    out: Path | None = None,
    resume: Path | None = None,
    watcher: Watcher = nobody_watches,
) -> tuple[Result, Path]:
    """Run a study from what a person wrote: a model with options, a TOML brief, or a folder to resume.

    Args:
        source: A model or a brief; null to resume with the brief that the folder holds.
        options: As they were spelled, keywords of `ingest.brief.brief_from_options` without `model`.
        out: Folder for the answer; null for a new one beside the current folder's other studies.
        resume: Folder of an earlier sitting.
        watcher: Told where the study stands.

    Returns:
        The answer, and the folder that holds it.

    Raises:
        InputError: Something the person gave cannot be used; nothing is left behind.
        Interrupted: The person stopped it.
    """
    if resume is not None and out is not None:
        raise BriefError("--out and --resume", "found both", "needed one: a study goes on in its own folder")
    if source is None:
        if resume is None:
            raise BriefError("SOURCE", "found nothing", "needed a model, a brief (.toml), or --resume DIR")
        brief, folder = _saved_brief(resume, options), resume
    else:
        if source.suffix.lower() == ".toml":
            brief = brief_from_toml(source, options)
        else:
            brief = brief_from_options(model=str(source), **options)
        folder = resume or out or new_folder(source)
    if resume is not None:
        _require_study(resume)
    try:
        return optimize_brief(brief, folder, resume=resume is not None, watcher=watcher), folder
    except KeyboardInterrupt as stop:
        raise Interrupted(folder if (folder / STUDY / BRIEF).is_file() else None) from stop


def optimize_brief(brief: Brief, folder: Path, *, resume: bool = False, watcher: Watcher = nobody_watches) -> Result:
    """Find the cheapest plan for a brief, prove it, and write result, report and bundle into `folder`.

    Args:
        brief: What is wanted.
        folder: Where the answer goes; must be new or empty, unless `resume`.
        resume: Go on with the study that the folder holds: nothing that it finished is done again.
        watcher: Told where the study stands.

    Raises:
        InputError: Something the person gave cannot be used.
        KeyboardInterrupt: The person stopped it; the folder can be resumed.
    """
    begin = time.monotonic()
    existed = folder.exists()
    if existed and not resume and (not folder.is_dir() or any(folder.iterdir())):
        raise BriefError(
            f"--out {folder}", "it is there and not empty", "give another folder, or --resume to go on with its study"
        )
    whole_s = brief.limits.budget_s + brief.limits.train_s
    watcher(Progress("reading the model and the data", 0.0, whole_s))
    identity = {
        "version": version("equipoise"),
        "brief": brief.content_digest,
        "environment": environment().content_digest,
        "model": _files_digest(_written(brief.model.path), brief.model.state_dict, *brief.model.alternatives),
        "data": _files_digest(
            brief.data.path,
            brief.data.calibration,
            brief.data.train,
            brief.workload.trace,
            *(ood.path for ood in brief.data.ood.values()),
        ),
    }
    try:
        (folder / STUDY).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BriefError(f"--out {folder}", f"cannot be made: {error.strerror}", "give another folder") from None
    with alone_in(folder / STUDY):
        return _study(brief, folder, identity, existed, resume, watcher, begin)


def _study(
    brief: Brief,
    folder: Path,
    identity: dict[str, str],
    existed: bool,
    resume: bool,
    watcher: Watcher,
    begin: float,
) -> Result:
    try:
        check_register()
        study = StudyFolder(folder / STUDY, identity)
        (folder / STUDY / BRIEF).write_text(brief.model_dump_json(indent=2), encoding="utf-8")
        prepared = prepare(brief, study)
    except InputError:
        if not resume:
            _leave_nothing(folder, existed)
        raise
    driver = _Driver(brief, study, prepared, watcher, folder, begin)
    choice = driver.run()
    driver.tell("writing the answer")
    return write_answer(brief, choice, prepared, driver.workbench, folder, driver.reused or 0, driver.elapsed_s())


class _Driver:
    """Stands between the search and the workbench: keeps the journal and the clock."""

    def __init__(
        self, brief: Brief, study: StudyFolder, prepared: Prepared, watcher: Watcher, folder: Path, begin: float
    ) -> None:
        self.budget_s = brief.limits.budget_s
        self.train_s = brief.limits.train_s
        self.study = study
        self.prepared = prepared
        self.watcher = watcher
        self.folder = folder
        self.workbench = Workbench(study, prepared.material, self.tell)
        self._begin = begin - study.elapsed_s  # earlier sittings count
        self._trained_s = 0.0
        self._tried = 0
        self._best: Best | None = None
        self._baseline_usd: float | None = None
        self.reused: int | None = None

    def elapsed_s(self) -> float:
        """Wall time of the study, earlier sittings included."""
        return time.monotonic() - self._begin

    def tell(self, doing: str) -> None:
        """Tell the watcher what is being done."""
        best = self._best
        self.watcher(
            Progress(
                doing=doing,
                elapsed_s=self.elapsed_s(),
                budget_s=self.budget_s + self.train_s,
                tried=self._tried,
                best="" if best is None else best.name,
                usd_per_million=None if best is None else best.usd_per_million,
                baseline_usd_per_million=self._baseline_usd,
                proved=best is not None and best.proved,
            )
        )

    def run(self) -> Choice:
        """Carry out what the search asks for until it ends."""
        search = solve(search_facts(self.prepared))
        elapsed_s = 0.0
        try:
            action = next(search)
            while True:
                if isinstance(action, Best):
                    self._note_best(action)
                    action = search.send(Reply(None, self._left_s(elapsed_s), self._trained_s))
                    continue
                if isinstance(action, Answer) and action.split == "certify" and self.reused is None:
                    self.reused = open_certify(self.prepared.splits.data_digest, self.study.study_id)
                before_s = elapsed_s
                outcome, elapsed_s = self._done_before(action) or self._do(action)
                if isinstance(action, Build) and trains(action.recipe):
                    self._trained_s += elapsed_s - before_s
                action = search.send(Reply(outcome, self._left_s(elapsed_s), self._trained_s))
        except StopIteration as stop:
            choice: Choice = stop.value
            return choice
        except BaselineError as error:
            raise ModelError(
                self.prepared.brief.model.path,
                f"it could not be measured: {error}",
                "check the model with its own runtime on these rows; a model that is slow takes a larger --budget",
            ) from error
        finally:
            self.workbench.close()

    def _left_s(self, elapsed_s: float) -> float:
        """Budget that is left: training has a budget of its own, and only what it overruns is taken from this one."""
        return self.budget_s + min(self._trained_s, self.train_s) - elapsed_s

    def _done_before(self, action: Action) -> tuple[Outcome | Answered, float] | None:
        entry = self.study.recall(action.content_digest)
        if entry is None:
            return None
        if isinstance(action, Build | Speed | Compose):
            self._tried += 1
        return self.workbench.recalled(action, entry.value), entry.elapsed_s

    def _do(self, action: Action) -> tuple[Outcome | Answered, float]:
        if isinstance(action, Build | Speed | Compose):
            self._tried += 1
        left_s = self._left_s(self.elapsed_s())
        if isinstance(action, Build) and trains(action.recipe):
            left_s += max(0.0, self.train_s - self._trained_s)
        outcome = self.workbench.carry_out(action, left_s)
        elapsed_s = self.elapsed_s()
        value = outcome.model_dump(mode="json") if isinstance(outcome, Noun) else {}
        self.study.record(action.content_digest, value, elapsed_s)
        return outcome, elapsed_s

    def _note_best(self, best: Best) -> None:
        self._best = best
        if self._baseline_usd is None:
            self._baseline_usd = best.usd_per_million
        (self.folder / STUDY / BEST).write_text(best.model_dump_json(indent=2), encoding="utf-8")
        self.tell(f"{best.name} is the best so far")


def search_facts(prepared: Prepared) -> SearchFacts:
    """What the search starts from."""
    material, judge = prepared.material, prepared.judge
    brief, quality = prepared.brief, prepared.brief.quality
    return SearchFacts(
        budget_s=brief.limits.budget_s,
        finish_s=min(MOST_FINISH_S, FINISH_SHARE * brief.limits.budget_s),
        n_search=material.splits["search"].n,
        n_certify=material.splits["certify"].n,
        cores=material.cores,
        confidence=brief.quality.confidence,
        p99_limit_s=brief.limits.p99_s,
        memory_limit_bytes=brief.limits.memory_bytes,
        rate_rps=None if material.traffic is None else material.traffic.rate_rps,
        mean_rate_rps=None if material.traffic is None else material.traffic.mean_rate_rps,
        usd_per_hour=prepared.price.usd_per_hour,
        value=brief.value if brief.value.given else None,
        judged=judge is not None,
        data_use=brief.data.data_use,
        counts_correct=judge is not None and judge.metric.name == "accuracy",
        baseline=material.baseline,
        originals=prepared.originals,
        recipes=prepared.recipes,
        train_s=brief.limits.train_s,
        payback_days=brief.limits.payback_days,
        trainings=prepared.trainings,
        next_recipes=prepared.next_recipes,
        refused=prepared.refused,
        configs_of=prepared.configs_of,
        distrust=None
        if quality.distrust is None
        else WantedDistrust(quality.distrust, quality.distrust_below or TRUSTED_FROM, quality.distrust_default),
        repeats=prepared.repeats,
        form=prepared.composable_form,
        reshaping=_techniques_that("reshapes"),
        resuming=_techniques_that("resumes"),
        reverting=_techniques_that("reverts_layers"),
        compiling=frozenset(name for name, runtime in runtimes().items() if getattr(runtime, "compiles", False)),
    )


def _require_study(folder: Path) -> Path:
    saved = folder / STUDY / BRIEF
    if not saved.is_file():
        raise BriefError(f"--resume {folder}", "it holds no study", "give the folder that --out named")
    return saved


def _saved_brief(folder: Path, options: Mapping[str, Any]) -> Brief:
    """The brief of the study that a folder holds; of options, only `trust` may come with it."""
    saved = _require_study(folder)
    given = sorted(name for name, value in options.items() if value not in (None, (), [], False) and name != "trust")
    if given:
        raise BriefError(
            f"--resume {folder}",
            f"found {', '.join(given)} beside it",
            "a study goes on with the brief it began with; to change it, begin another with --out",
        )
    try:
        brief = Brief.model_validate_json(saved.read_bytes())
    except ValidationError as error:
        raise BriefError(
            str(saved), f"not a brief of this version ({error.error_count()} errors)", "begin anew in another folder"
        ) from None
    if (brief.model.trust or is_factory(brief.model.path)) and not options.get("trust"):
        raise BriefError(
            f"--resume {folder}",
            f"its study opens pickles or modules ({brief.model.path} or an alternative), which can run any code",
            "give --trust again if you made them yourself",
        )
    return brief


def _written(model: str) -> str | None:
    """The file that a model is in, or that of the function which makes it; null for what is installed, or the hub's."""
    if model.startswith(HUB):
        return None
    return str(factory_file(model) or "") or None if is_factory(model) else model


def _files_digest(*paths: str | None) -> str:
    digests = []
    for path in paths:
        if path is None:
            continue
        try:
            if Path(path).is_dir():
                digests.append(artifact_digest(Path(path)))
                continue
            for part in model_files(Path(path)):
                with part.open("rb") as file:
                    digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise BriefError(
                path,
                f"cannot be read: {error.strerror}",
                "needed the file that the study began with; paths count from the folder in which it began",
            ) from None
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def new_folder(source: Path) -> Path:
    """A folder in the current one that is not there yet, named after a model or a brief."""
    name = source.name.rpartition(":")[2] if is_factory(str(source)) else source.stem
    base = Path(f"equipoise-{name}")
    numbered = (base if count == 1 else base.with_name(f"{base.name}-{count}") for count in range(1, 10_000))
    return next(folder for folder in numbered if not folder.exists())


def _leave_nothing(folder: Path, existed: bool) -> None:
    shutil.rmtree(folder / STUDY, ignore_errors=True)
    if not existed:
        shutil.rmtree(folder, ignore_errors=True)


def _techniques_that(do: str) -> frozenset[str]:
    """Names of the techniques that say they do something."""
    return frozenset(name for name, technique in techniques().items() if getattr(technique, do, False))
