"""What a check of a bundle found: as lines for a terminal, and as JUnit XML for a continuous-integration server."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from equipoise.core.check import Check, CheckedClaim
from equipoise.report.wording import allowed, chance, loss, metric_name, quality

OUTCOMES = {"holds": "ok", "fails": "FAIL", "not tested": "skip"}
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def check_lines(check: Check) -> list[str]:
    """One line a claim, what is known of those that fail, the notes, and the verdict at the end."""
    wide = max(len(title(claim, check)) for claim in check.claims)
    lines = []
    for claim in check.claims:
        lines.append(f"{OUTCOMES[claim.outcome]:<5} {title(claim, check):<{wide}}  {said(claim, check)}".rstrip())
        if claim.outcome == "fails" and claim.kind in ("files", "answers"):
            lines += [f"      {detail}" for detail in claim.details]
    lines += [f"note  {note}" for note in check.notes]
    return [*lines, f"{check.bundle}: {_verdict(check)}"]


def junit(check: Check) -> str:
    """JUnit XML: one suite, one test case a claim; what was not tested is skipped."""
    counts = [claim.outcome for claim in check.claims]
    figures = {
        "tests": str(len(counts)), "failures": str(counts.count("fails")), "errors": "0",
        "skipped": str(counts.count("not tested")),
    }  # fmt: skip
    suites = Element("testsuites", {"name": "equipoise check"} | figures)
    suite = SubElement(suites, "testsuite", {"name": _clean(check.bundle)} | figures)
    properties = SubElement(suite, "properties")
    for name, value in (
        ("plan", check.plan), ("data", check.data), ("metric", check.metric), ("basis", check.basis),
        ("confidence", check.confidence),
    ):  # fmt: skip
        if value is not None:
            SubElement(properties, "property", {"name": name, "value": _clean(str(value))})
    for claim in check.claims:
        case = SubElement(
            suite,
            "testcase",
            {"classname": f"equipoise.check.{claim.kind}", "name": _clean(title(claim, check)), "time": "0"},
        )
        text = _clean("\n".join([said(claim, check), *claim.details]))
        if claim.outcome == "fails":
            SubElement(case, "failure", {"message": _clean(said(claim, check)), "type": claim.verdict or "changed"})
            case[0].text = text
        elif claim.outcome == "not tested":
            SubElement(case, "skipped", {"message": text})
        else:
            SubElement(case, "system-out").text = text
    if check.notes:
        SubElement(suite, "system-out").text = _clean("\n".join(check.notes))
    indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(suites, encoding="unicode") + "\n"


def title(claim: CheckedClaim, check: Check) -> str:
    """What is claimed, in a few words."""
    if claim.kind in ("files", "answers"):
        return claim.name
    metric = metric_name(check.metric or "")
    return metric if claim.kind == "metric" else f"{metric} on {claim.name}"


def said(claim: CheckedClaim, check: Check) -> str:
    """What was found of a claim, in a sentence."""
    if claim.kind == "files":
        return "as they were written" if claim.outcome == "holds" else f"{len(claim.details)} changed"
    if claim.kind == "answers":
        good = "as they were certified, on this machine"
        return good if claim.outcome == "holds" else "; ".join(claim.details)
    if claim.difference is None and claim.quality is None:
        return "; ".join(claim.details)
    return f"{_figures(claim, check)}{_why(claim)}"


def _verdict(check: Check) -> str:
    outcomes = [claim.outcome for claim in check.claims]
    if not check.ok:
        return f"{outcomes.count('fails')} of {len(outcomes)} claims are not proved, do not serve it"
    untested = outcomes.count("not tested")
    if untested:
        return f"what was tested holds; {untested} of {len(outcomes)} claims were not tested"
    return "its certificate holds" if check.basis == "paired" else "its figure is past the floor"


def _figures(claim: CheckedClaim, check: Check) -> str:
    metric, parts = check.metric or "", []
    if claim.quality is not None:
        parts.append(f"{quality(metric, claim.quality.value)} on {claim.n:,} rows")
    else:
        parts.append(f"{claim.n:,} rows")
    if claim.floor is not None:
        parts.append(f"must be past {quality(metric, claim.floor)}")
    if claim.difference is not None and claim.margin is not None:
        seen = loss(metric, claim.difference.value)
        parts.append(f"loses {seen}" if claim.difference.value > 0 else "loses nothing")
        if claim.difference.high is not None:
            most = "surely at most" if claim.difference.high >= 0 else "surely"
            parts.append(f"{most} {loss(metric, claim.difference.high)}")
        parts.append(f"allowed {allowed(metric, claim.margin)}")
    if claim.p_value is not None:
        parts.append(chance(claim.p_value))
    return ", ".join(parts)


def _why(claim: CheckedClaim) -> str:
    if claim.verdict == "worse":
        return ": there is evidence of harm"
    if claim.verdict != "too few":
        return ""
    return ": these rows cannot tell" + (f", {claim.needed:,} are needed" if claim.needed is not None else "")


def _clean(text: str) -> str:
    """Text without the characters that XML has no place for."""
    return _NOT_IN_XML.sub("\ufffd", text)
