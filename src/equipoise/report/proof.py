"""The certificate in plain words."""

from __future__ import annotations

from equipoise.core.certificate import Certificate, Provable
from equipoise.core.result import Result
from equipoise.report.details import ReportDetails
from equipoise.report.markup import Markup, element, join, with_code
from equipoise.report.naming import said
from equipoise.report.tables import slices
from equipoise.report.wording import allowed, loss, metric_name, quality, significant


def proof(result: Result, details: ReportDetails) -> Markup:
    """What is claimed, how sure it is, on which rows, for which slices, and what it does not cover."""
    parts: list[object] = []
    if result.certificate is not None:
        parts += _claim(result.certificate, result)
    elif details.metric == "none":
        parts.append(
            element("p", "No claim is made about quality: you asked for speed and cost alone, and nothing was judged.")
        )
    else:
        parts.append(element("p", "Nothing meets all limits, so there is nothing to certify."))
    if result.provable is not None:
        parts.append(element("p", _provable(result.provable, details)))
    if result.certificate is not None:
        parts.append(_not_covered(result.certificate))
    return join(parts)


def _claim(certificate: Certificate, result: Result) -> list[object]:
    metric = certificate.metric
    wrong = round(1 / (1 - certificate.confidence))
    rows = f"{certificate.n:,} rows"
    if certificate.groups is not None:
        rows += f" in {certificate.groups:,} groups"
    name = said(result.chosen.name) if result.chosen else "the candidate"
    margin = allowed(metric, certificate.margin)
    if certificate.passed:
        claim = f"On rows like yours, {name} loses at most {margin} of {metric_name(metric)} against your model."
    else:
        claim = f"It could not be shown that {name} loses at most {margin} of {metric_name(metric)} against your model."
    seen = (
        f"Your model scores {quality(metric, certificate.baseline.value)}, this one "
        f"{quality(metric, certificate.chosen.value)}: {_loss_seen(metric, certificate.difference.value)}."
    )
    if certificate.difference.high is not None:
        seen += f" With the confidence above, the true loss is at most {loss(metric, certificate.difference.high)}."
    reused = "No earlier study had opened these rows."
    if certificate.reused:
        count = "One earlier study has" if certificate.reused == 1 else f"{certificate.reused} earlier studies have"
        reused = f"{count} already opened these same rows; each look wears the proof out a little, so bring fresh rows."
    facts = [
        ("What is claimed", claim),
        (
            "How sure",
            f"{significant(certificate.confidence * 100)}%: of such claims at most 1 in {wrong:,} is wrong by chance.",
        ),
        ("On what", f"{rows} that had no part in choosing; both models answered the same rows."),
        ("What was seen", seen),
        (
            "How many were tried",
            f"{_count(certificate.candidates_tried)} tried on other rows, {certificate.candidates_certified:,} of them "
            "put to this test, in an order fixed beforehand, so that trying many makes no false claim likelier.",
        ),
        ("By which test", certificate.method),
        ("Wear", reused),
    ]
    listed = element("dl", *(join((element("dt", term), element("dd", text))) for term, text in facts), class_="facts")
    verdict = element(
        "p",
        "✓ Proved" if certificate.passed else "✗ Not proved",
        class_=f"seal {'passed' if certificate.passed else 'failed'}",
    )
    return [verdict, listed, *([slices(certificate)] if certificate.slices else [])]


def _count(candidates: int) -> str:
    return "1 candidate was" if candidates == 1 else f"{candidates:,} candidates were"


def _loss_seen(metric: str, value: float) -> str:
    if value == 0:
        return "no difference"
    return loss(metric, value) if value < 0 else f"a loss of {loss(metric, value)}"


def _provable(provable: Provable, details: ReportDetails) -> str:
    if provable.drop is None:
        text = "These rows can prove no drop, however large: no candidate was put to the test."
    else:
        plan = f" (with {said(provable.plan)})" if provable.plan else ""
        drop = loss(details.metric, max(provable.drop, 0.0))
        text = f"The tightest drop that your {provable.n:,} rows can prove is {drop}{plan}."
    if details.margin is None:
        return text
    wished = allowed(details.metric, details.margin)
    if provable.rows_for_margin is None:
        return f"{text} No number of rows would prove {wished}: the loss itself is about as large."
    whole = f" ({provable.total_rows_for_margin:,} in the whole file)" if provable.total_rows_for_margin else ""
    return f"{text} To prove {wished} at the losses seen takes {provable.rows_for_margin:,} rows for the proof{whole}."


def _not_covered(certificate: Certificate) -> Markup:
    items = [
        "Rows unlike those in your file: if what comes in changes, so may the quality. Judge again from time to time.",
        "Another processor or other library versions: the same file can answer differently there. "
        "`equipoise verify` tells you whether it does.",
        "Speed, memory and cost: they were measured on the machine described below, and not certified.",
        "Groups of rows that are not listed above: a small group can lose more than the whole does.",
    ]
    if certificate.slices:
        items[3] = "Groups of rows other than those in the table: a small group can lose more than the whole does."
    return join(
        (element("h3", "What this does not cover"), element("ul", *(element("li", with_code(item)) for item in items)))
    )
