"""The original and the plan that matters, side by side on corrupted rows, for the answer and the report."""

from __future__ import annotations

from typing import Literal

from equipoise.compose.certify import Evidence, judge
from equipoise.compose.choice import Choice
from equipoise.compose.robustness import robustness_figures
from equipoise.core.robustness import Robustness
from equipoise.corrupt.rows import STRENGTH
from equipoise.errors import InputError
from equipoise.flow.evidence import Judge
from equipoise.flow.prepare import Prepared
from equipoise.flow.workbench import Workbench
from equipoise.stats.predictions import Predictions

MOST_REFUSED = 20


def robustness_of(choice: Choice, prepared: Prepared, workbench: Workbench) -> tuple[Robustness, ...]:
    """How plans stand corruptions beside the original: what was chosen, and what a corruption stopped.

    The latter on the certify rows where it came to the proof; else on the search rows the cheapest, if it is cheaper
    than what was chosen, that is proved there on rows as they are and not on a corrupted set.

    Returns:
        At most two; none where no rows were corrupted.
    """
    judge = prepared.judge
    if judge is None or not judge.corruptions:
        return ()
    chosen = choice.chosen.name if choice.chosen is not None and choice.decision == "replace" else None
    found = [] if chosen is None else [_on_certify(chosen, True, choice, judge, workbench)]
    proofs = (_on_certify(name, False, choice, judge, workbench) for name in choice.order if name != chosen)
    stopped = (each for each in proofs if each is not None and any(figures.blocks for figures in each.figures))
    found.append(next(stopped, None) or _on_search(choice, judge, workbench))
    return tuple(each for each in found if each is not None)


def _on_certify(name: str, chosen: bool, choice: Choice, judge: Judge, workbench: Workbench) -> Robustness | None:
    try:
        outputs = workbench.outputs(choice.certify_actions[name])
    except (KeyError, InputError):  # it was not asked, or failed on these rows, which the candidates' table says
        return None
    original = choice.certify_actions[choice.baseline_tuned.name]
    evidence = judge.evidence(workbench.outputs(original), "certify", original.rows)
    return _figures(name, chosen, judge.predictions(outputs, "certify"), evidence, judge, "certify")


def _on_search(choice: Choice, judged_by: Judge, workbench: Workbench) -> Robustness | None:
    original = next(iter(choice.search_actions.values()))
    evidence = judged_by.evidence(workbench.outputs(original), "search", original.rows)
    sets = {claim.name for claim in evidence.claims if claim.kind == "corruption"}
    chosen = None if choice.chosen is None else choice.entrants[choice.chosen.name].config.name
    cheapest = sorted(choice.screened, key=lambda screened: screened.usd_per_million)
    for screened in cheapest[:MOST_REFUSED]:
        if screened.config_name == chosen:
            return None
        action = choice.search_actions.get(screened.config_name)
        if action is None or action == original:
            continue
        answers = judged_by.predictions(workbench.outputs(action), "search")
        found = judge(answers, evidence, judged_by.seed)
        if evidence.main.name not in found.blocked_by and sets & set(found.blocked_by):
            return _figures(screened.config_name, False, answers, evidence, judged_by, "search")
    return None


def _figures(
    name: str,
    chosen: bool,
    answers: Predictions,
    evidence: Evidence,
    judge: Judge,
    split: Literal["search", "certify"],
) -> Robustness:
    strengths = judge.splits[split].extra[STRENGTH][: answers.n]
    return Robustness(
        candidate=name,
        chosen=chosen,
        split=split,
        figures=robustness_figures(answers, evidence, strengths, judge.seed),
    )
