"""The commented brief that `equipoise init` writes."""

from __future__ import annotations

import textwrap

from equipoise.ingest.brief_keys import FILE_KEYS, SECTIONS, BriefKey

WIDTH = 100


def brief_template() -> str:
    """A TOML brief with every key: the required ones set to examples, the others explained and commented out."""
    lines = [
        "# A brief for `equipoise optimize brief.toml`. Lines that begin with `# ` explain; remove the `#` in front of",
        "# a key to set it. Paths count from this file's folder.",
        "",
    ]
    lines += [line for key in FILE_KEYS if not key.section for line in _lines(key)]
    for section, about in SECTIONS.items():
        if section:
            lines += ["", f"[{section}]", f"# {about}"]
            lines += [line for key in FILE_KEYS if key.section == section for line in _lines(key)]
    return "\n".join(lines) + "\n"


def _lines(key: BriefKey) -> list[str]:
    name = key.toml.rpartition(".")[2]
    about = textwrap.wrap(key.about, WIDTH, initial_indent="# ", subsequent_indent="# ")
    return ["", *about, f"{'' if key.required else '#'}{name} = {key.example}"]
