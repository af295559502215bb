"""The report of a study: its answer, the pictures behind it, the proof, and every candidate."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from equipoise.core.result import Result
from equipoise.report import figures
from equipoise.report.before_after import before_after
from equipoise.report.composition import cards, is_put_together, stage_table, what_parts_save, who_answers
from equipoise.report.details import ReportDetails
from equipoise.report.flips import flips_picture, flips_tables
from equipoise.report.markup import Markup, element, join, table, with_code
from equipoise.report.naming import said
from equipoise.report.page import drawn, page, section, write_page
from equipoise.report.parts import padding_line
from equipoise.report.points import cost_of
from equipoise.report.proof import proof
from equipoise.report.robustness import robustness, robustness_picture
from equipoise.report.tables import candidates, key_figures
from equipoise.report.training import learning_curves, payback_text
from equipoise.report.value import value_pictures
from equipoise.report.wording import allowed, duration, loss, metric_name, money, quality, significant, size, times

DECISIONS = {
    "replace": ("Replace it", "A cheaper way to serve your model was found, and it still does its job."),
    "keep": ("Keep what you have", "No other form of your model is clearly cheaper and still does its job."),
    "infeasible": ("Nothing meets these limits", "No way to serve your model was found that keeps all your limits."),
}
WORTH = {
    "replace": ("Replace it", "A way to serve that is worth more to you was found, and it still does its job."),
    "keep": ("Keep what you have", "Nothing else is surely worth more to you and still does its job."),
}
"""The same where errors, waiting or failures have a price."""
NOTEWORTHY = 1.005
CENT_USD = 0.01


def write_report(result: Result, details: ReportDetails, path: Path) -> None:
    """Write the report as one HTML file that loads nothing from anywhere.

    Its content security policy forbids every connection, so that a browser holds it to that.

    Args:
        result: The answer.
        details: Every measured point, for the pictures.
        path: Where to write; it appears there when it is whole.
    """
    write_page(report_page(result, details), path)


def report_page(result: Result, details: ReportDetails) -> str:
    """The report as text."""
    return page(
        f"{details.model}: {DECISIONS[result.decision][0].lower()}",
        _answer(result, details),
        _sections(result, details),
        f"Made by Equipoise {version('equipoise')} in {duration(result.wall_s)}, seed {result.seed}.",
    )


def _sections(result: Result, details: ReportDetails) -> list[Markup]:
    pictures = [
        *value_pictures(result),
        figures.frontier(result, details),
        figures.traffic(result, details),
        figures.latency_limit(result, details),
        figures.allowed_drop(result, details),
        figures.latencies(result, details),
    ]
    return [
        section("key-figures", "Key figures", key_figures(result, details)),
        *_composition(result),
        *(section(picture.key, picture.title, drawn(picture)) for picture in pictures),
        *_before_after(details),
        *_flips(result),
        *_robustness(result, details),
        *_training(result, details),
        section("proof", "What is proved", proof(result, details)),
        section("all", "Every candidate, and what became of it", candidates(result, details)),
        section("circumstances", "Where these figures come from", _circumstances(result, details)),
        *([section("warnings", "What else you should know", _list(result.warnings))] if result.warnings else []),
    ]


def _before_after(details: ReportDetails) -> list[Markup]:
    content = before_after(details.layers)
    return [section("layers", "Where the time goes, before and after", *content)] if content else []


def _flips(result: Result) -> list[Markup]:
    if result.flips is None:
        return []
    picture = flips_picture(result.flips)
    return [section(picture.key, picture.title, drawn(picture), flips_tables(result.flips))]


def _robustness(result: Result, details: ReportDetails) -> list[Markup]:
    pictures = [(found, robustness_picture(found, details)) for found in result.robustness]
    return [
        section(picture.key, picture.title, drawn(picture), robustness(found, details)) for found, picture in pictures
    ]


def _composition(result: Result) -> list[Markup]:
    if not is_put_together(result):
        return []
    parts: list[object] = [drawn(who_answers(result))]
    if result.chosen is not None:
        parts.append(stage_table(result.chosen))
        if result.chosen.savings:
            savings = what_parts_save(result)
            parts += [element("h3", savings.title), drawn(savings)]
    return [section("composition", "How the answer is put together", *parts, cards(result))]


def _training(result: Result, details: ReportDetails) -> list[Markup]:
    if not details.trainings and result.payback is None:
        return []
    curves = learning_curves(details)
    content = (payback_text(result), element("h3", curves.title), drawn(curves))
    return [section("training", "What training cost, and what it brought", *content)]


def _list(items: tuple[str, ...]) -> Markup:
    return element("ul", *(element("li", item) for item in items), class_="warnings")


def _answer(result: Result, details: ReportDetails) -> Markup:
    label, meaning = (DECISIONS if result.value is None else DECISIONS | WORTH)[result.decision]
    usd = cost_of(result.baseline, result)
    before = "too slow" if usd is None else money(usd)
    after = money(cost_of(result.chosen, result)) if result.chosen else before
    amounts: list[object] = [element("span", before, class_="only" if after == before else "before")]
    if after != before:
        amounts += [
            element("span", "→", class_="arrow", aria_label="becomes"),
            element("span", after, class_="after"),
        ]
    about = "per million answers"
    if result.cost.basis == "provisioned":
        about += ", whole machines paid at your traffic"
    return join(
        (
            element(
                "p",
                element("span", label, class_=f"badge {result.decision}"),
                " ",
                element("span", details.model, class_="file"),
            ),
            element("p", *amounts, class_="money"),
            element("p", about, class_="unit"),
            element("h1", with_code(result.sentence)),
            element("p", meaning, class_="meaning"),
            *([_nearest_miss(result)] if result.nearest_miss else []),
            element("ul", *_tiles(result, details), class_="tiles"),
            *([_warned(len(result.warnings))] if result.warnings else []),
        )
    )


def _warned(count: int) -> Markup:
    what = "1 thing" if count == 1 else f"{count} things"
    return element("p", element("a", f"⚠ {what} to know before you rely on this", href="#warnings"), class_="warned")


def _nearest_miss(result: Result) -> Markup:
    miss = result.nearest_miss
    if miss is None:
        return Markup("")
    return element(
        "p",
        "Closest came ",
        element("strong", said(miss.name)),
        f". What binds is {miss.limit}: {miss.found}, needed {miss.needed}.",
        class_="miss",
    )


def _tiles(result: Result, details: ReportDetails) -> list[Markup]:
    cost, chosen, proved = result.cost, result.chosen, result.certificate
    shown: list[tuple[str, str]] = []
    if cost.ratio is not None and cost.ratio > NOTEWORTHY:
        shown.append((times(cost.ratio), "cheaper than your model as it is"))
    if cost.ratio_tuned is not None and cost.ratio_tuned > NOTEWORTHY:
        shown.append((times(cost.ratio_tuned), "cheaper than your model with its best settings"))
    gain = None if chosen is None or chosen.value is None else chosen.value.gain_usd
    if gain is not None and gain.value >= CENT_USD:
        shown.append((money(gain.value), "more worth to you per million requests"))
    if cost.monthly_usd_baseline is not None and cost.monthly_usd_chosen is not None:
        saved = cost.monthly_usd_baseline - cost.monthly_usd_chosen
        shown += [(money(saved), "saved a month at your traffic")] if saved >= CENT_USD else []
    if proved is not None:
        figures_text = (
            f"{quality(proved.metric, proved.baseline.value)} → {quality(proved.metric, proved.chosen.value)}"
        )
        shown.append((figures_text, metric_name(proved.metric)))
        if proved.passed and proved.difference.high is not None:
            sure = f"most that it can lose, {significant(proved.confidence * 100)}% sure"
            shown.append((loss(proved.metric, max(proved.difference.high, 0.0)), sure))
    fastest = chosen or result.baseline
    if fastest.latency_s.p99 is not None:
        limit = f" (limit {duration(details.p99_limit_s)})" if details.p99_limit_s is not None else ""
        shown.append((duration(fastest.latency_s.p99.value), f"99 of 100 answers within{limit}"))
    return [element("li", element("strong", figure), element("span", what)) for figure, what in shown]


def _circumstances(result: Result, details: ReportDetails) -> Markup:
    price, machine, splits = result.cost.price, result.environment, result.splits
    dated = f", {price.dated}" if price.dated else ""
    kinds = {
        "given": "given by you",
        "instance": f"of {price.instance}",
        "owned": "of a machine of your own",
        "assumed": "assumed, since none was given",
    }
    traffic = f"{significant(details.rate_rps)} requests a second" if details.rate_rps else "not given"
    limits = [
        *([f"99 of 100 answers within {duration(details.p99_limit_s)}"] if details.p99_limit_s is not None else []),
        *([f"memory {size(details.memory_limit_bytes)}"] if details.memory_limit_bytes is not None else []),
        *([f"loss at most {allowed(details.metric, details.margin)}"] if details.margin is not None else []),
    ]
    repeats = splits.duplicates
    found = [
        f"{repeats.exact:,} rows repeat an earlier one",
        f"{repeats.near:,} nearly do",
        *([f"{repeats.in_training:,} also stand in the training data"] if repeats.in_training is not None else []),
        *([f"{repeats.conflicting_targets:,} repeat with another answer"] if repeats.conflicting_targets else []),
    ]
    rows = [
        ("Model", details.model),
        ("Data", details.data),
        (
            "Rows",
            f"{splits.calibrate:,} to calibrate, {splits.search:,} to search, {splits.certify:,} for the proof; "
            + ", ".join(found),
        ),
        *([] if result.padding is None else [("Tokens", padding_line(result.padding))]),
        ("Limits", "; ".join(limits) or "none"),
        ("Traffic", traffic),
        ("Price", f"{money(price.usd_per_hour)} an hour, {kinds[price.kind]} (source: {price.source}{dated})"),
        ("Processor", f"{machine.cpu_model}, {machine.cores} cores, {size(machine.memory_bytes)} of memory"),
        ("Instruction sets", " ".join(machine.cpu_flags) or "none that matter"),
        ("System", f"{machine.system}, Python {machine.python}"),
        ("Libraries", ", ".join(f"{name} {found}" for name, found in sorted(machine.libraries.items()))),
    ]
    note = "Speed holds for this machine and these libraries. On others, measure again."
    return join((table("Circumstances", ("What", "Which"), rows, class_="circumstances"), element("p", note)))
