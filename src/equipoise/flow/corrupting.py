"""Puts a study's rows to the corruptions that its brief asks for, and sees which of them the model takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.servable import Config
from equipoise.core.brief import Brief
from equipoise.core.corruption import EVERY, FAMILY_OF, Corruption
from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing, TextPreprocessing
from equipoise.core.profile import Settings
from equipoise.corrupt.images import BYTE, CHANNELS, ImageForm
from equipoise.corrupt.rows import STRENGTH, Corruptible, needed_for
from equipoise.errors import BriefError, ChildTimedOut, DataError, EquipoiseError
from equipoise.flow.children import answers_of, open_child
from equipoise.flow.evidence import MAIN
from equipoise.host.sandbox import Sandbox
from equipoise.preprocess.lengths import joined
from equipoise.preprocess.raw import Preprocessor, Raw, open_preprocessor
from equipoise.preprocess.rows import Rows
from equipoise.store.study import StudyFolder

Array = NDArray[Any]
MOST_BYTES = 2**30
"""Of all corrupted rows of a split: where all of its rows would take more, each set holds as many as fit."""
LIKE_ROWS, TRIED_ROWS = 5_000, 1_000
"""Rows that tell what an input holds, and corrupted rows of a set that the model is tried on."""
TRIAL_TIMEOUT_S = 60.0
SPLITS = ("search", "certify")


@dataclass(frozen=True)
class Corrupted:
    """What became of the corruptions that were asked for.

    Attributes:
        splits: `search` and `certify` rows, the corrupted ones among them in random order.
        corruptions: Those that were made, each with its margin.
        notes: What the person should know: which do not apply, and why.
    """

    splits: dict[str, Rows]
    corruptions: tuple[Corruption, ...]
    notes: tuple[str, ...]


def with_corruptions(
    brief: Brief,
    splits: dict[str, Rows],
    baseline: Config,
    study: StudyFolder,
    preprocessing: PlacedPreprocessing | None = None,
) -> Corrupted:
    """Add to the search and certify rows, as further populations, what corruptions make of them.

    A corrupted row stays in the split of the row that it was made of, so that nothing that chose a candidate has seen
    a certify row in any form.

    Args:
        brief: Which corruptions, and the seed.
        splits: `search` and `certify` rows, in random order.
        baseline: The model as deployed: what it cannot answer at all, no other form of it is asked.
        study: Holds the artifact.
        preprocessing: How raw images or texts became the rows; null where they were tensors or columns already.

    Raises:
        DataError: A corruption that was asked for by name does not fit the data.
        BriefError: A library that one needs is missing.
    """
    if not brief.data.corrupt:
        return Corrupted(splits, (), ())
    main = {name: _main(splits[name]) for name in SPLITS}
    corruptible = corruptible_of(main["search"], preprocessing)
    wanted, notes = _wanted(brief, corruptible)
    most = {name: _most_rows(main[name], len(wanted)) for name in SPLITS}
    made: list[Corruption] = []
    parts: dict[str, list[Rows]] = {name: [] for name in SPLITS}
    with _trial(baseline, corruptible.like, study) as answers:
        for corruption in wanted:
            rows = {
                name: corruptible.corrupted(main[name].take(slice(0, most[name])), corruption, brief.seed + place)
                for place, name in enumerate(SPLITS)
            }
            refusal = answers(rows["search"]) if FAMILY_OF[corruption.name] == "tables" else ""
            if refusal:
                notes.append(f"the corruption {corruption.set_name} does not apply: {refusal}")
                continue
            made.append(corruption)
            for name in SPLITS:
                parts[name].append(rows[name])
    if made and most["certify"] < main["certify"].n:
        notes.append(
            f"each corrupted set holds {most['certify']:,} of the {main['certify'].n:,} certify rows: all of them in "
            f"{len(wanted)} sets would take more than {MOST_BYTES / 1e9:.1f} GB"
        )
    filling = filling_of(preprocessing)
    mixed = {name: _mixed(splits[name], parts[name], filling, brief.seed) for name in SPLITS}
    return Corrupted(splits | mixed, tuple(made), tuple(notes))


def corrupted_parts(
    rows: Rows, sets: Sequence[str], preprocessing: PlacedPreprocessing | None, seed: int
) -> list[Rows]:
    """Sets of corrupted rows, made of other rows than those that a study had.

    Args:
        rows: As they are.
        sets: Names of the sets, as a certificate has them.
        preprocessing: How raw images or texts became the rows; null where they were tensors or columns already.
        seed: Of everything random.

    Returns:
        A part for each set that these rows can take.
    """
    if not sets:
        return []
    corruptible = corruptible_of(rows, preprocessing)
    some = rows.take(slice(0, _most_rows(rows, len(sets))))
    wanted = [Corruption.of_set(name) for name in sets]
    return [corruptible.corrupted(some, each, seed) for each in wanted if corruptible.inputs_for(each.name)]


def corruptible_of(rows: Rows, preprocessing: PlacedPreprocessing | None) -> Corruptible:
    """What of some rows can be corrupted; images that were normalised are taken back to light and dark for it."""
    like = rows.take(slice(0, LIKE_ROWS))
    settings = None if preprocessing is None else preprocessing.settings
    if isinstance(settings, ImagePreprocessing):
        return Corruptible(like, image_forms(like, preprocessing))
    if preprocessing is not None and rows.texts is not None:
        return Corruptible(like, tokenise=partial(_tokens, open_preprocessor(preprocessing), settings))
    return Corruptible(like)


def _tokens(preprocessor: Preprocessor, settings: TextPreprocessing | None, texts: Sequence[str]) -> dict[str, Array]:
    """A model's inputs of texts; the two of a pair stand on lines of their own."""
    pairs = settings is not None and settings.columns is not None and len(settings.columns) == 2
    raw: list[Raw] = [(each.partition("\n")[0], each.partition("\n")[2]) if pairs else each for each in texts]
    return preprocessor(raw, [f"corrupted row {row:,}" for row in range(len(raw))])


def image_forms(rows: Rows, preprocessing: PlacedPreprocessing | None) -> dict[str, ImageForm]:
    """How inputs hold images, by input: as preprocessing made them, or else as their values tell."""
    settings = None if preprocessing is None else preprocessing.settings
    if isinstance(settings, ImagePreprocessing):
        return {name: _image_form(settings, array) for name, array in rows.feeds.items()}
    told = {name: ImageForm.of(array) for name, array in rows.feeds.items()}
    return {name: form for name, form in told.items() if form is not None}


def _image_form(settings: ImagePreprocessing, array: Array) -> ImageForm:
    """How preprocessed images lie between black and white: (value * std + mean) / rescale_factor / 255."""
    factor = settings.rescale_factor if settings.do_rescale else 1.0
    mean = settings.image_mean if settings.do_normalize and settings.image_mean else (0.0,)
    std = settings.image_std if settings.do_normalize and settings.image_std else (1.0,)
    if settings.channel_order == "BGR":
        mean, std = mean[::-1], std[::-1]
    return ImageForm(
        layout="NHWC" if array.shape[-1] in CHANNELS else "NCHW",
        gain=tuple(each / factor / BYTE for each in std),
        offset=tuple(each / factor / BYTE for each in mean),
    )


def _wanted(brief: Brief, corruptible: Corruptible) -> tuple[list[Corruption], list[str]]:
    """The corruptions with `all` spelled out; those that were asked for by name must fit the data."""
    found, notes = [each for each in brief.data.corrupt if each.name != EVERY], []
    for each in found:
        if not corruptible.inputs_for(each.name):
            raise DataError(
                brief.data.path,
                f"--corrupt {each.name} does not fit it: no input holds {needed_for(each.name)}",
                f"the corruptions that fit it are those of: {', '.join(corruptible.families) or 'none'}",
            )
    taken = {each.set_name for each in found}
    for every in (each for each in brief.data.corrupt if each.name == EVERY):
        fitting = [name for name in FAMILY_OF if corruptible.inputs_for(name)]
        if not fitting:
            raise DataError(
                brief.data.path, "no corruption fits its inputs", "needed images, columns or texts for --corrupt all"
            )
        for one in (every.model_copy(update={"name": name}) for name in fitting):
            if one.set_name in taken:
                continue
            try:
                corruptible.corrupted(corruptible.like.take(slice(0, 1)), one, brief.seed)
            except BriefError as error:
                notes.append(f"the corruption {one.name} was left out: {error.found}; {error.needed}")
                continue
            taken.add(one.set_name)
            found.append(one)
    return found, notes


class _Trial:
    """Tries the model on corrupted rows, in a process of its own that is opened again where it died."""

    def __init__(self, baseline: Config, like: Rows, study: StudyFolder) -> None:
        self._baseline, self._like, self._study = baseline, like, study
        self._child: Sandbox | None = None

    def __call__(self, rows: Rows) -> str:
        """Why the model does not answer such rows; empty where it does."""
        asked = rows.take(slice(0, TRIED_ROWS))
        try:
            found = answers_of(self._open(), asked, 16, TRIAL_TIMEOUT_S)
        except ChildTimedOut:  # slow is not unable
            return ""
        except EquipoiseError as error:
            return f"the model rejects such rows ({str(error).splitlines()[-1][:200]})"
        holes = [name for name, array in found.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        return f"the model answers such rows with no finite number ({holes[0]})" if holes else ""

    def _open(self) -> Sandbox:
        if self._child is None or not self._child.alive:
            config = self._baseline
            settings = Settings(runtime=config.runtime, precision=config.precision, threads=1, replicas=1, batch=1)
            sample = self._like.take(slice(0, 16)).feeds
            self._child = open_child(config, settings, sample, self._study, "corruptions")
        return self._child

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None


@contextmanager
def _trial(baseline: Config, like: Rows, study: StudyFolder) -> Iterator[_Trial]:
    trial = _Trial(baseline, like, study)
    try:
        yield trial
    finally:
        trial.close()


def _main(rows: Rows) -> Rows:
    return rows.take(np.flatnonzero(rows.population == MAIN))


def _most_rows(rows: Rows, sets: int) -> int:
    row_bytes = max(1, sum(array[:1].nbytes for array in rows.feeds.values()))
    return max(1, min(rows.n, MOST_BYTES // (row_bytes * max(1, sets))))


def filling_of(preprocessing: PlacedPreprocessing | None) -> Mapping[str, int]:
    """What the shorter of texts are filled up with, by input."""
    if preprocessing is None or not isinstance(preprocessing.settings, TextPreprocessing):
        return {}
    return open_preprocessor(preprocessing).filling


def _mixed(rows: Rows, parts: Sequence[Rows], filling: Mapping[str, int], seed: int) -> Rows:
    """All of them in random order: where the budget allows some of the rows, it takes the first."""
    if not parts:
        return rows
    whole = [replace(rows, extra=rows.extra | {STRENGTH: np.zeros(rows.n, np.intp)}), *parts]
    targets = [part.target for part in whole if part.target is not None]
    everything = Rows(
        feeds=joined([part.feeds for part in whole], filling),
        target=np.concatenate(targets) if targets else None,
        extra={name: np.concatenate([part.extra[name] for part in whole]) for name in whole[0].extra},
        population=np.concatenate([part.population for part in whole]),
        texts=None if rows.texts is None else np.concatenate([part.texts for part in whole if part.texts is not None]),
    )
    return everything.take(np.random.default_rng([seed, len(parts)]).permutation(everything.n))
