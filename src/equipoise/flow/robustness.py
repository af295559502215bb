"""The original and the plan that matters, side by side on corrupted rows, for the answer and the report."""

from __future__ import annotations

from typing import Literal

from equipoise.compose.actions import Answer
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


def robustness_of(choice: Choice, prepared: Prepared, workbench: Workbench) -> Robustness | None:
    """How the chosen plan stands corruptions beside the original.

    Where the original is kept, of the plan that a corruption stopped: on the certify rows where it was put to the
    proof; else on the search rows, of the cheapest that is proved there on rows as they are and not on a corrupted set.

    Returns:
        Null where no rows were corrupted, or no corruption stopped anything.
    """
    if prepared.judge is None or not prepared.judge.corruptions:
        return None
    if choice.decision == "replace" and choice.chosen is not None:
        return _on_certify(choice.chosen.name, True, choice, prepared.judge, workbench)
    refused = next((name for name in choice.order if name in choice.certify_actions), None)
    if refused is not None:
        return _on_certify(refused, False, choice, prepared.judge, workbench)
    return _on_search(choice, prepared.judge, workbench)


def _on_certify(name: str, chosen: bool, choice: Choice, judge: Judge, workbench: Workbench) -> Robustness | None:
    actions = choice.certify_actions
    return _beside(name, chosen, actions[name], actions[choice.baseline_tuned.name], judge, workbench, "certify")


def _on_search(choice: Choice, judged_by: Judge, workbench: Workbench) -> Robustness | None:
    original = next(iter(choice.search_actions.values()))
    evidence = judged_by.evidence(workbench.outputs(original), "search", original.rows)
    sets = {claim.name for claim in evidence.claims if claim.kind == "corruption"}
    cheapest = sorted(choice.screened, key=lambda screened: screened.usd_per_million)
    for screened in cheapest[:MOST_REFUSED]:
        action = choice.search_actions.get(screened.config_name)
        if action is None or action == original:
            continue
        answers = judged_by.predictions(workbench.outputs(action), "search")
        found = judge(answers, evidence, judged_by.seed)
        if evidence.main.name not in found.blocked_by and sets & set(found.blocked_by):
            return _figures(screened.config_name, False, answers, evidence, judged_by, "search")
    return None


def _beside(
    name: str,
    chosen: bool,
    action: Answer,
    original: Answer,
    judge: Judge,
    workbench: Workbench,
    split: Literal["search", "certify"],
) -> Robustness | None:
    try:
        outputs = workbench.outputs(action)
    except InputError:  # it failed on these rows, which the candidates' table says
        return None
    evidence = judge.evidence(workbench.outputs(original), split, original.rows)
    return _figures(name, chosen, judge.predictions(outputs, split), evidence, judge, split)


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
