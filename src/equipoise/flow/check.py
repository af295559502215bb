"""`equipoise check`: does a bundle's certificate still hold, for new rows and for the files as they are now?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.certify import Claim, Evidence, SmallSlices
from equipoise.compose.recheck import NO_ORIGINAL, recheck, recheck_alone, small_slices_of
from equipoise.core.brief import DataBrief
from equipoise.core.certificate import Certificate, SliceVerdict
from equipoise.core.check import Check, CheckedClaim
from equipoise.core.tensor import ModelSpec
from equipoise.errors import BriefError, BundleError, DataError, InputError
from equipoise.execute.plan import OpenPlan, open_plan
from equipoise.execute.verify import Verification, verify_bundle
from equipoise.flow.corrupting import corrupted_parts, filling_of
from equipoise.flow.evidence import MAIN, Judge
from equipoise.flow.original import original_answers
from equipoise.ingest.data_files import DataFiles
from equipoise.ingest.rows import bind_rows
from equipoise.ingest.slices import sliced_like, spelled
from equipoise.preprocess.answers import ClassLabel, OutputMeaning, encode_target
from equipoise.preprocess.lengths import joined
from equipoise.preprocess.rows import Rows
from equipoise.stats.metrics import Metric, metric_named
from equipoise.store.bundle import Bundle, read_bundle

Array = NDArray[Any]
POOLED = "(pooled small)"
WEAKER = (
    "no original was given (--baseline): the bundle's own figure is held against the original's of then, less the "
    "margin, which says less than a comparison on the same rows"
)


@dataclass(frozen=True)
class CheckWish:
    """What a check is made with.

    Attributes:
        data: New rows, with true answers: a file, or a folder or archive of images, as a study takes it.
        baseline: The model that the bundle was made from; null for the weaker claim about the bundle alone.
        trust: Whether `baseline` may be a file that can execute code.
        state_dict: Weights of a `baseline` that is `module:function`.
        target: Column of the true answers; null to look for `label`, then `y`.
        columns: Column names of CSV files that have no header.
        group: Column whose equal values belong together; needed where the certificate is by group.
        ood: Name of an out-of-distribution set of the certificate to a file of new rows of it.
        positive_class: Needed for the metric `f1_binary`.
        small_slices: What becomes of slices with too few rows; null for what the certificate's own study did.
        seed: For bootstraps.
    """

    data: Path
    baseline: Path | None = None
    trust: bool = False
    state_dict: Path | None = None
    target: str | None = None
    columns: tuple[str, ...] | None = None
    group: str | None = None
    ood: Mapping[str, Path] = field(default_factory=dict)
    positive_class: str | None = None
    small_slices: SmallSlices | None = None
    seed: int = 0


def check_bundle(folder: Path, wish: CheckWish) -> Check:
    """Look at everything again that a bundle's certificate rests on.

    Files and golden answers first: changed files are not opened, and then nothing else is tested. Then the claims of
    the certificate, with its own margins and confidence: beside the original where it is given, else of the bundle
    alone.

    Args:
        folder: The bundle.
        wish: The new rows, and what to read them with.

    Raises:
        BundleError: It is not a bundle, or its certificate claims nothing about answers.
        InputError: The rows, the original or an option cannot be used.
    """
    found = verify_bundle(folder)
    if found.changed_files:
        return Check(bundle=str(folder), plan=None, data=str(wish.data), claims=_intact(found), notes=found.notes)
    bundle = read_bundle(folder)
    if bundle.certificate is None:
        raise BundleError(
            str(folder), "it certifies no answers, since its metric is none", "use `equipoise verify` for its files"
        )
    study = _Study(bundle, bundle.certificate, wish)
    claims: tuple[CheckedClaim, ...] = ()
    try:
        plan = open_plan(bundle)
    except InputError as error:
        if found.ok:
            raise
        notes: tuple[str, ...] = (f"nothing could be tested on the rows: {error}",)
    else:
        claims, notes = study.claims(plan)
    return Check(
        bundle=str(folder),
        plan=bundle.plan.name,
        data=str(wish.data),
        metric=bundle.certificate.metric,
        confidence=bundle.certificate.confidence,
        basis="floor" if wish.baseline is None else "paired",
        claims=(*_intact(found), *claims),
        notes=(*found.notes, *notes),
    )


def _intact(found: Verification) -> tuple[CheckedClaim, ...]:
    files, answers = found.changed_files, found.changed_answers
    unseen: tuple[Literal["not tested"], tuple[str, ...]] = ("not tested", found.notes)
    seen: tuple[Literal["fails", "holds"], tuple[str, ...]] = ("fails" if answers else "holds", answers)
    outcome, details = unseen if files else seen
    return (
        CheckedClaim(name="files", kind="files", outcome="fails" if files else "holds", details=files),
        CheckedClaim(name="golden answers", kind="answers", outcome=outcome, details=details),
    )


class _Study:
    """The new rows, read as the certificate's own study read its rows."""

    def __init__(self, bundle: Bundle, certificate: Certificate, wish: CheckWish) -> None:
        self.bundle = bundle
        self.certificate = certificate
        self.wish = wish
        self.meaning = _meaning(bundle, certificate)
        self.metric = _metric(certificate, self.meaning, wish)
        self.slices = _slice_names(certificate)
        sets = [verdict.name for verdict in certificate.slices if verdict.kind == "ood"]
        strange = sorted(set(wish.ood) - set(sets))
        if strange:
            known = ", ".join(sets) or "none"
            raise BriefError("--ood", f"found {strange[0]!r}", f"needed a set of the certificate: it has {known}")
        if certificate.groups is not None and wish.group is None:
            raise BriefError(
                "--group", "found nothing", "needed the group column: the certificate compares groups, not rows"
            )
        if certificate.metric == "agreement" and wish.baseline is None:
            raise BriefError(
                "--baseline", "found nothing", "needed the original model: agreement is with its answers, row by row"
            )
        files = DataFiles(None, wish.columns, bundle.preprocessing)
        self.tables = {MAIN: files.read(wish.data)}
        self.tables |= {name: files.read(path) for name, path in wish.ood.items()}

    def claims(self, plan: OpenPlan) -> tuple[tuple[CheckedClaim, ...], tuple[str, ...]]:
        """Every claim of the certificate, tested; and what should be known besides."""
        wish, certified = self.wish, self.certificate
        rows = self._bound(plan.spec)
        target = None
        if rows.target is not None and certified.metric != "agreement":
            target = encode_target(rows.target, self.meaning)
        groups = None if wish.group is None else _group_codes(rows.extra[wish.group], str(wish.data))
        places, notes = self._claims(rows)
        judge = Judge(
            metric=self.metric,
            meaning=self.meaning,
            data=DataBrief(path=str(wish.data)),
            max_drop=certified.margin,
            confidence=certified.confidence,
            splits={},
            seed=wish.seed,
            default=self.bundle.plan.distrust.default if self.bundle.plan.distrust else None,
        )
        answers = judge.decoded(plan.answer(rows.feeds), rows.target)
        untested = self._untested({place.name for place in places})
        if wish.baseline is None:
            alone = recheck_alone(self.metric, places, answers, target, groups, certified, wish.seed)
            return (*alone, *untested), (WEAKER, *notes)
        original = original_answers(wish.baseline, wish.trust, self.tables[MAIN], self._bound, wish.state_dict)
        evidence = Evidence(
            metric=self.metric,
            baseline=judge.decoded(original, rows.target),
            target=target,
            groups=groups,
            claims=places,
            confidence=certified.confidence,
            small_slices=wish.small_slices or small_slices_of(certified),
        )
        return (*recheck(evidence, answers, certified, wish.seed), *untested), notes

    def _bound(self, spec: ModelSpec) -> Rows:
        """All new rows, as a model takes them: the main ones, those of out-of-distribution sets, corrupted ones."""
        metric = self.certificate.metric
        needs = None if metric == "agreement" or ":" in metric else f"the metric {metric}"
        wanted = [*self.slices, *([self.wish.group] if self.wish.group else [])]
        parts = []
        for name, table in self.tables.items():
            for column in wanted:
                if name == MAIN or column == self.wish.group:
                    table.require(column, "a slice of the certificate, or the group")
            extra = list(dict.fromkeys(column for column in wanted if column in table.columns))
            part = bind_rows(
                table, spec, self.wish.target, extra=extra, population=name, needs_target=needs,
                columns=self.bundle.data.columns,
            )  # fmt: skip
            parts.append(part)
        if self.wish.baseline is not None:
            sets = [verdict.name for verdict in self.certificate.slices if verdict.kind == "corruption"]
            parts += corrupted_parts(parts[0], sets, self.bundle.preprocessing, self.wish.seed)
        targets = [part.target for part in parts if part.target is not None]
        group = self.wish.group
        return Rows(
            feeds=joined([part.feeds for part in parts], filling_of(self.bundle.preprocessing)),
            target=np.concatenate(targets) if targets else None,
            extra={} if group is None else {group: np.concatenate([part.extra[group] for part in parts])},
            population=np.concatenate([part.population for part in parts]),
        )

    def _claims(self, rows: Rows) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
        """The certificate's claims, on the new rows; and the slices of new rows that it does not speak of."""
        certified, table = self.certificate, self.tables[MAIN]
        margins = {verdict.name: verdict.margin for verdict in certified.slices}
        claims = [Claim(MAIN, "metric", certified.margin, np.flatnonzero(rows.population == MAIN))]
        notes = []
        for column, names in self.slices.items():
            found = sliced_like(table.columns[column], names)
            for name in names:
                place = f"{column}={name}"
                claims.append(Claim(place, "slice", margins[place], np.flatnonzero(found == name), column=column))
            new = sorted(set(found.tolist()) - set(names))
            notes += [
                f"{int(np.sum(found == name)):,} rows of {column}={name}, of which the certificate says nothing"
                for name in new
            ]
        claims += [
            Claim(name, "ood", margins[name], np.flatnonzero(rows.population == name))
            for name in self.tables
            if name != MAIN
        ]
        there = set(rows.population.tolist())
        claims += [
            # A set that was only reported is in the certificate with whatever was found.
            Claim(
                each.name,
                "corruption",
                each.margin,
                np.flatnonzero(rows.population == each.name),
                counts=each.verdict == "within",
            )
            for each in certified.slices
            if each.kind == "corruption" and each.name in there
        ]
        return tuple(claims), tuple(notes)

    def _untested(self, tested: Collection[str]) -> tuple[CheckedClaim, ...]:
        """Out-of-distribution sets of which no new rows were given, and corruptions that could not be made."""
        unmade = "the new rows cannot take it" if self.wish.baseline is not None else NO_ORIGINAL

        def why(verdict: SliceVerdict) -> str:
            return f"no new rows of it were given (--ood {verdict.name}=PATH)" if verdict.kind == "ood" else unmade

        return tuple(
            CheckedClaim(
                name=verdict.name,
                kind=verdict.kind,
                outcome="not tested",
                margin=verdict.margin,
                details=(why(verdict),),
            )
            for verdict in self.certificate.slices
            if verdict.kind != "slice" and verdict.name not in tested
        )


def _meaning(bundle: Bundle, certificate: Certificate) -> OutputMeaning:
    plan = bundle.plan
    kind: Any = plan.output_kind
    return OutputMeaning(
        output=plan.output,
        kind=kind,
        labels=None if bundle.labels is None else _labels(bundle.labels),
        multilabel=plan.multilabel,
        function=certificate.metric if ":" in certificate.metric else None,
    )


def _labels(names: tuple[str, ...]) -> tuple[ClassLabel, ...]:
    """Classes as they were before they were written down as text: numbers and truth values where all of them are."""
    readers: tuple[Any, ...] = (int, float, {"True": True, "False": False}.__getitem__)
    for read in readers:
        try:
            found = tuple(read(name) for name in names)
        except (ValueError, KeyError):
            continue
        if tuple(map(str, found)) == names:
            return found
    return names


def _metric(certificate: Certificate, meaning: OutputMeaning, wish: CheckWish) -> Metric:
    wanted, names = wish.positive_class, [str(label) for label in meaning.labels or ()]
    if wanted is None and certificate.metric == "f1_binary":
        raise BriefError("--positive-class", "found nothing", f"needed one of the classes: {', '.join(names)}")
    if wanted is not None and wanted not in names:
        raise BriefError("--positive-class", f"found {wanted!r}", f"needed one of the classes: {', '.join(names)}")
    return metric_named(certificate.metric, None if wanted is None else names.index(wanted))


def _slice_names(certificate: Certificate) -> dict[str, list[str]]:
    """Column to the names of its slices."""
    found: dict[str, list[str]] = {}
    for verdict in certificate.slices:
        column, _, name = verdict.name.partition("=")
        if verdict.kind == "slice" and name != POOLED:
            found.setdefault(column, []).append(name)
    return found


def _group_codes(values: Array, source: str) -> NDArray[np.intp]:
    named = spelled(values)
    missing = np.array([value is None for value in named])
    if missing.any():
        raise DataError(source, f"the group is missing in {missing.sum():,} rows", "needed the group of every row")
    codes: NDArray[np.intp] = np.unique(named.astype(str), return_inverse=True)[1]
    return codes
