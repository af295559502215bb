"""Degraded modes of what was chosen: what answers under pressure, and what is given where it does not trust itself.

Each is picked on the search rows and tested once, by itself, against the floor on the certify rows; its certificate is
its own. What is not proved is not offered.
"""

from __future__ import annotations

from collections.abc import Generator

from equipoise.compose.actions import Action, Answer, Answered, Doubt, Doubted, Reply
from equipoise.compose.composition import FIRST_FASTER
from equipoise.compose.servable import Composed, Config, Entrant, Part, single
from equipoise.compose.state import Screened, SearchState
from equipoise.core.certificate import FloorCertificate
from equipoise.core.plan import Distrust
from equipoise.core.profile import Settings
from equipoise.core.result import DegradedMode
from equipoise.policy.cost import usd_per_million_packed


def fallback(state: SearchState, chosen: Entrant) -> Generator[Action, Reply, tuple[Config, DegradedMode] | None]:
    """Pick what answers under pressure, and test it against the floor.

    Args:
        state: What the search knows.
        chosen: What was chosen.

    Returns:
        The config and what was proved of it; null where no floor was given, or nothing is clearly faster.
    """
    picked = _pick(state, chosen)
    if picked is None:
        return None
    config = single(picked.config)
    settings = _in_lanes_of(chosen, config)
    answered = yield from state.ask(Answer(config=config, settings=settings, split="certify", rows=state.rows_certify))
    if not isinstance(answered, Answered) or answered.floor is None:
        return None
    usd = usd_per_million_packed(state.facts.usd_per_hour, state.rows_per_s(picked))
    proved = answered.floor
    mode = DegradedMode(name=config.name, usd_per_million_packed=usd, certificate=proved, offered=proved.passed)
    return config, mode


def distrust(
    state: SearchState, chosen: Entrant, plans: int
) -> Generator[Action, Reply, tuple[Composed, Distrust] | str | None]:
    """Have what was chosen say where it does not trust its answer, and test what is then given against the floor.

    Args:
        state: What the search knows.
        chosen: What was chosen.
        plans: How many might have been chosen by the rows that now test it.

    Returns:
        The same with a doubting last stage, and what was proved of it; why there is none, in words; null where none was
        asked for.
    """
    wanted = state.facts.distrust
    if wanted is None:
        return None
    if state.facts.form is None:
        return "its answers have no confidence that could be doubted"
    parts = chosen.config.parts if isinstance(chosen.config, Composed) else (Part(members=(chosen.config,)),)
    if wanted.answer == "simple" and len(parts) == 1:
        return "the plan has no simpler stage whose answer could be given"
    rule = yield from state.ask(
        Doubt(
            answers=tuple(state.search_actions[member.name] for member in parts[-1].members),
            combine=parts[-1].combine,
            asked_by=state.search_actions[chosen.config.name] if len(parts) > 1 else None,
            below=wanted.below,
        )
    )
    if not isinstance(rule, Doubted) or rule.accept is None:
        return "its answers have no confidence that could be doubted"
    doubting = Composed(
        parts=(*parts[:-1], parts[-1].model_copy(update={"accept": rule.accept})),
        form=state.facts.form,
        untrusted=wanted.answer,
        default=wanted.default,
    )
    answered = yield from state.ask(
        Answer(config=doubting, settings=chosen.settings, split="certify", rows=state.rows_certify)
    )
    if not isinstance(answered, Answered) or answered.floor is None or answered.trusted is None:
        return "it could not be tested"
    found = _shared(answered.floor, plans)
    if not found.passed:
        return f"its quality, {found.quality.value:.4g}, is not proved to reach the floor of {found.floor:g}"
    if wanted.answer != "refer" and answered.judgement is not None and not answered.judgement.passed:
        return "with it, the plan is not proved to stay within the margin"
    proved = Distrust(answer=wanted.answer, default=wanted.default, share_answered=answered.trusted, certificate=found)
    return doubting, proved


def _shared(floor: FloorCertificate, plans: int) -> FloorCertificate:
    """The same test at alpha divided by the plans that its rows chose among: luck in the choice is luck in the test."""
    alpha = (1 - floor.confidence) / plans
    return floor.model_copy(
        update={
            "passed": floor.p_value <= alpha,
            "method": f"{floor.method}, at {alpha:.3g}: {1 - floor.confidence:.3g} shared by {plans} plans",
        }
    )


def _pick(state: SearchState, chosen: Entrant) -> Screened | None:
    """The fastest that the search rows prove, the plan's own first stage before others; else the surest faster one."""
    plan_rows_per_s = state.rows_per_s(state.screened[chosen.config.name])
    faster = [
        screened
        for screened in state.screened.values()
        if isinstance(screened.config, Config)
        and screened.floor is not None
        and screened.config.fixed_batch is None
        and state.rows_per_s(screened) > FIRST_FASTER * plan_rows_per_s
    ]
    likely = [screened for screened in faster if screened.floor is not None and screened.floor.passed]
    if isinstance(chosen.config, Composed) and len(chosen.config.parts) > 1:
        first = {member.name for member in chosen.config.parts[0].members}
        own = [screened for screened in likely if screened.config.name in first]
        if own:
            return own[0]
    if state.facts.memory_limit_bytes is not None:  # what is not loaded anyway was not weighed beside the plan
        return None
    if likely:
        return max(likely, key=state.rows_per_s)
    return min(faster, key=lambda screened: _floor_p_value(screened), default=None)


def _floor_p_value(screened: Screened) -> float:
    return 1.0 if screened.floor is None else screened.floor.p_value


def _in_lanes_of(chosen: Entrant, config: Config) -> Settings:
    """A fallback runs in the plan's own threads and replicas, so that a free one can run it at once."""
    own = {"runtime": config.runtime, "precision": config.precision, "default": False}
    return chosen.settings.model_copy(update=own)
