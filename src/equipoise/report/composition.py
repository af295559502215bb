"""How the chosen answer is put together: who answers what share, what each part saves, and its degraded modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.core.candidate import Candidate, CandidateStage
from equipoise.core.certificate import FloorCertificate
from equipoise.core.plan import Distrust
from equipoise.core.result import CacheFigures, DegradedMode, Result
from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, breakable, element, join, table
from equipoise.report.naming import (
    accepts_text,
    composition,
    composition_of,
    config_name,
    members,
    of_hundred,
    short_name,
    short_names,
)
from equipoise.report.parts import cache_reason, doubt_text, not_shown
from equipoise.report.points import cost_of
from equipoise.report.strokes import BLUE, GREEN, GREY, ORANGE, Json, axis, canvas, dollar_axis, wrapped
from equipoise.report.wording import (
    NOTHING,
    chance,
    duration,
    floor_bound,
    loss,
    metric_name,
    money,
    percent,
    quality,
    significant,
    size,
)

LABEL_CHARACTERS = 22
LINE_PIXELS = 18


@dataclass(frozen=True)
class Answerer:
    """Who answers some of the requests, and the shares that reach it and end there, 0 to 1."""

    name: str
    reached: float
    answered: float


def is_put_together(result: Result) -> bool:
    """Whether there is more to say of the answer than which model it is."""
    parts = (result.cache, result.fallback, result.distrust)
    chosen = result.chosen
    return any(parts) or (chosen is not None and bool(chosen.savings or composition_of(chosen)))


def who_answers(result: Result) -> Picture:
    """The way of requests from one answerer to the next."""
    title = "Who answers"
    found = answerers(result)
    if len(found) < 2:
        caption = "Which stage answers what share of the requests was not kept."
        if found and result.chosen is not None:
            caption = f"Every request is answered by {'the ' * bool(composition_of(result.chosen))}{found[0].name}."
        return Picture("who-answers", title, caption)
    labels = [
        wrapped(f"{each.name}: {of_hundred(each.answered)}", LABEL_CHARACTERS, place)
        for place, each in enumerate(found, 1)
    ]
    layout = _bars(axis("share of requests", tickformat=".0%", range=[0, 1], tickvals=[0, 0.5, 1]), labels)
    passed = [each.reached - each.answered for each in found]
    start = [1 - each.reached for each in found]
    traces = [
        _bar("answers", labels, [each.answered for each in found], start, BLUE),
        _bar(
            "passes on",
            labels,
            passed,
            [begin + each.answered for begin, each in zip(start, found, strict=True)],
            GREY,
            "/",
        ),
    ]
    told = "; ".join(f"{each.name} {of_hundred(each.answered)}" for each in found)
    caption = (
        f"Requests go from top to bottom until one answers: {told}. Shares are those of the rows that chose among "
    )
    caption += "candidates, as if repeated requests were like all others." if _hit_share(result) else "candidates."
    rows = tuple((each.name, percent(each.reached), percent(each.answered)) for each in found)
    columns = ("Who", "Asked for", "Answers")
    return Picture("who-answers", title, caption, {"data": traces, "layout": layout}, columns, rows)


def answerers(result: Result) -> tuple[Answerer, ...]:
    """Memory, stages, and who is asked where the last is not sure; empty where no shares are known."""
    chosen = result.chosen
    if chosen is None:
        return ()
    hit = _hit_share(result)
    missed = 1 - hit
    found = [Answerer("memory", 1.0, hit)] if hit else []
    named = composition_of(chosen)
    if named is None:
        found.append(Answerer(short_name(chosen.name), missed, missed))
    elif any(stage.share_answered is None for stage in named.stages) and len(named.stages) > 1:
        return ()
    else:
        names = short_names([stage.name for stage in named.stages])
        for name, stage in zip(names, named.stages, strict=True):
            reached = 1.0 if stage.share_reached is None else stage.share_reached
            answered = reached if stage.share_answered is None else stage.share_answered
            found.append(Answerer(name, missed * reached, missed * answered))
    if result.distrust is not None and result.distrust.share_answered < 1:
        last = found.pop()
        unsure = min(missed * (1 - result.distrust.share_answered), last.answered)
        given = {"refer": "a person", "simple": "the simple stage", "default": "the default answer"}
        found += [
            Answerer(last.name, last.reached, last.answered - unsure),
            Answerer(given[result.distrust.answer], unsure, unsure),
        ]
    return tuple(found)


def what_parts_save(result: Result) -> Picture:
    """The cost of the chosen plan without each of its parts."""
    title = "What each part saves"
    chosen = result.chosen
    whole = None if chosen is None else cost_of(chosen, result)
    if chosen is None or whole is None or not chosen.savings:
        return Picture("savings", title, "It was not worked out what each part saves.")
    known = _config_names(chosen)
    labels = [wrapped("with every part", LABEL_CHARACTERS)] + [
        wrapped(f"without {_shortened(saving.part, known)}", LABEL_CHARACTERS, place)
        for place, saving in enumerate(chosen.savings, 1)
    ]
    usd = [whole, *(saving.usd_per_million_without for saving in chosen.savings)]
    layout = _bars(dollar_axis("USD per million", nticks=5, tickangle=0), labels)
    layout["showlegend"] = False
    trace = _bar("USD per million", labels, usd, [0.0] * len(usd), ORANGE)
    trace["marker"] = {"color": [GREEN] + [ORANGE] * (len(usd) - 1)}
    trace["text"] = [f"{label}<br>{money(each)} per million" for label, each in zip(labels, usd, strict=True)]
    caption = "What a million answers would cost with one part removed and all else the same"
    most = max(chosen.savings, key=lambda saving: saving.usd_per_million_without)
    if most.usd_per_million_without > whole:
        saved = money(most.usd_per_million_without - whole)
        caption += f". The largest part is {_shortened(most.part, known)}: it saves {saved}"
    rows = (
        ("with every part", money(whole), NOTHING, ""),
        *(
            (
                f"without {saving.part}",
                money(saving.usd_per_million_without),
                _saved(saving.usd_per_million_without - whole),
                saving.note,
            )
            for saving in chosen.savings
        ),
    )
    columns = ("Plan", "USD per million", "The part saves", "Note")
    return Picture("savings", title, f"{caption}.", {"data": [trace], "layout": layout}, columns, rows)


def stage_table(candidate: Candidate) -> Markup:
    """Each stage: how often it is asked, how often its answer stands, and when."""
    found = composition_of(candidate)
    if found is None:
        return Markup("")

    def share(value: float | None) -> str:
        return NOTHING if value is None else percent(value)

    rows = [
        (
            breakable(f"{place}. {stage.name}"),
            share(stage.share_reached),
            share(stage.share_answered),
            accepts_text(stage.accepts),
        )
        for place, stage in enumerate(found.stages, 1)
    ]
    return table("Its stages", ("Stage", "Asked for", "Answers", "Its answer stands when"), rows, class_="stages")


def candidate_name(name: str, stages: Sequence[CandidateStage] = ()) -> Markup:
    """A candidate's full name; a composed one as a list of its stages."""
    found = composition(name, stages)
    if found is None:
        return element("span", breakable(name))
    setting = [element("small", found.setting)] if found.setting else []
    only = found.stages[0].name
    if len(found.stages) == 1 and len(members(only)) > 1:
        items = [element("li", breakable(member)) for member in members(only)]
        kind = f"{found.kind}: {only.partition(' ')[0]} of"
        return join((element("span", kind, class_="kind"), element("ol", *items, class_="stages"), *setting))
    items = []
    for stage in found.stages:
        known = [
            *([f"when {accepts_text(stage.accepts)}"] if stage.accepts else []),
            *([f"answers {of_hundred(stage.share_answered)}"] if stage.share_answered is not None else []),
        ]
        items.append(
            element("li", breakable(stage.name), *([" ", element("small", "; ".join(known))] if known else []))
        )
    return join((element("span", found.kind, class_="kind"), element("ol", *items, class_="stages"), *setting))


def cards(result: Result) -> Markup:
    """What answers under pressure, what is given in doubt, and what is remembered: a card for each that was asked."""
    found = [
        *([_fallback(result.fallback)] if result.fallback is not None else []),
        *([_distrust(result.distrust)] if result.distrust is not None else []),
        *([_cache(result.cache)] if result.cache is not None else []),
    ]
    return element("div", *found, class_="parts") if found else Markup("")


def _fallback(mode: DegradedMode) -> Markup:
    facts = [
        ("What answers", mode.name),
        ("It costs", f"{money(mode.usd_per_million_packed)} per million answers, machine kept full"),
        *_floor(mode.certificate),
    ]
    if mode.offered:
        facts.append(("When", "When the plan cannot answer in time, or is down; never for requests of high priority."))
    else:
        facts.append(("Why not", f"It is {not_shown(mode.certificate)}: requests are refused instead."))
    return _card("Under pressure", mode.offered, ("✓ Offered", "✗ Not offered"), facts)


def _distrust(distrust: Distrust) -> Markup:
    facts = [
        ("Answers trusted", f"{percent(distrust.share_answered)} of the rows of the proof"),
        ("For the others", doubt_text(distrust)),
        *_floor(distrust.certificate),
    ]
    return _card("When it is not sure", distrust.certificate.passed, ("✓ Proved", "✗ Not proved"), facts)


def _cache(cache: CacheFigures) -> Markup:
    rule = cache.rule
    memory = f"{size(rule.max_entries * rule.entry_bytes)} for {rule.max_entries:,} answers"
    facts = [
        ("Found in memory", f"{percent(rule.hit_share)} of the requests ({cache.source})"),
        ("It takes", f"{memory}: {money(cache.memory_usd_per_million)} per million requests"),
        ("A look-up", duration(cache.lookup_s)),
        (
            "USD per million",
            f"{money(cache.usd_per_million_with)} with it, {money(cache.usd_per_million_without)} without",
        ),
    ]
    if rule.near:
        steps = ", ".join(f"{name} to {significant(step)}" for name, step in rule.near.items())
        facts.append(("Near matches", f"inputs are rounded first: {steps}"))
    if cache.near_certificate is not None:
        proof = cache.near_certificate
        most = loss(proof.metric, max(0.0, proof.difference.high or 0.0))
        facts.append(("Near matches, proved", f"on {proof.n:,} later requests: they lose at most {most}"))
    if cache.near_reason:
        facts.append(("Near matches", cache.near_reason))
    if not cache.chosen:
        facts.append(("Why not", cache_reason(cache)))
    return _card("Answers from memory", cache.chosen, ("✓ Chosen", "✗ Left out"), facts)


def _floor(certificate: FloorCertificate) -> list[tuple[str, str]]:
    metric, bound = certificate.metric, floor_bound(certificate)
    name = metric_name(metric)
    confidence = f"{significant(certificate.confidence * 100)}% confidence"
    known = f", {bound} ({confidence})" if bound else f" ({confidence})"
    return [
        (f"{name[:1].upper()}{name[1:]}", f"{quality(metric, certificate.quality.value)}{known}"),
        ("Floor", quality(metric, certificate.floor)),
        ("On what", f"{certificate.n:,} rows that had no part in choosing"),
        ("By which test", f"{certificate.method} ({chance(certificate.p_value)})"),
    ]


def _card(title: str, good: bool, verdicts: tuple[str, str], facts: Sequence[tuple[str, str]]) -> Markup:
    verdict = element("p", verdicts[0] if good else verdicts[1], class_=f"seal {'passed' if good else 'failed'}")
    listed = element(
        "dl", *(join((element("dt", term), element("dd", breakable(text)))) for term, text in facts), class_="facts"
    )
    return element("div", element("h3", title), verdict, listed, class_="part")


def _bars(across: Json, labels: Sequence[str]) -> Json:
    lines = max(label.count("<br>") + 1 for label in labels)
    layout = canvas(across, {"automargin": True, "type": "category", "autorange": "reversed"})
    return layout | {"barmode": "overlay", "height": 130 + (LINE_PIXELS * lines + 14) * len(labels)}


def _bar(
    name: str, labels: Sequence[str], values: Sequence[float], base: Sequence[float], color: str, pattern: str = ""
) -> Json:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": list(labels),
        "x": list(values),
        "base": list(base),
        "text": [f"{label}<br>{name} {percent(value)}" for label, value in zip(labels, values, strict=True)],
        "textposition": "none",
        "hoverinfo": "text",
        "marker": {"color": color, "pattern": {"shape": pattern}},
    }


def _hit_share(result: Result) -> float:
    return result.cache.rule.hit_share if result.cache is not None and result.cache.chosen else 0.0


def _config_names(candidate: Candidate) -> tuple[str, ...]:
    found = composition_of(candidate)
    stages = [stage.name for stage in found.stages] if found else [config_name(candidate.name)]
    return tuple(dict.fromkeys([*stages, *(member for stage in stages for member in members(stage))]))


def _shortened(text: str, names: Sequence[str]) -> str:
    shortened = dict(zip(names, short_names(names), strict=True))
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, shortened[name])
    return text


def _saved(usd: float) -> str:
    return money(usd) if usd > 0 else f"nothing: {money(-usd)} dearer with it"
