"""The gallery: a Markdown page of claims that are often made, and what was measured, in each language.

All pages are made from the same records, so their numbers and words are the same.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.comparing.decision import ERROR, HOLDS, LOOKS, NOT_TESTED, REVERSED, discoveries, levels
from experiments.data.stored_json import Fields, read_json
from experiments.storage.workdir import write_text_atomically
from experiments.studies.frame.head import HEAD
from experiments.studies.frame.lab import FLAT
from experiments.studies.frame.text import SEMICOLON, WORDS, Text

TEXT = [str]
CASE = Fields({"name": TEXT, "word": str, "measured": TEXT, "at": TEXT, "reason": TEXT, "numbers": dict})
CLAIM = Fields({"number": int, "said": TEXT, "criterion": TEXT, "instead": TEXT, "cases": [CASE], "changed": [str]})
RECORD = Fields(
    {
        **dict.fromkeys(("study", "command", "devices"), str),
        "title": TEXT,
        "claims": [CLAIM],
        "seconds": float,
        "versions": Fields({"python": str, "jax": str}),
    }
)
"""Shape of a record."""
ENDINGS = Text(".md", ".zh.md")
"""Ending of the page's name in each language."""
Record = Mapping[str, Any]


def write_gallery(path: Path, folder: Path, names: Iterable[str]) -> list[str]:
    """Write the pages of the records that a folder holds, and return their names.

    Args:
        path: the page in English; those in other languages lie beside it.

    Raises:
        UserError: a record is damaged.
        OSError: a page could not be written.
    """
    records = [read(folder / f"{name}.json") for name in names if (folder / f"{name}.json").exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = Path(os.path.relpath(folder.absolute(), path.absolute().parent))
    for language, ending in enumerate(ENDINGS):
        drawn = {picture.name for picture in folder.glob("*.png")}
        text = page(records, pictures, language, drawn, [path.with_suffix(end).name for end in ENDINGS])
        write_text_atomically(path.with_suffix(ending), text)
    return [record["study"] for record in records]


def read(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UserError: the file is damaged, or no record of a study.
    """
    return read_json(path, RECORD, do="Delete it, and run the study again.")


def page(records: Sequence[Record], pictures: Path, language: int, drawn: Iterable[str], pages: Sequence[str]) -> str:
    """Format a page.

    Args:
        pictures: folder of the figures, relative to the page.
        language: index of the language in a Text.
        drawn: names of the figures that there are.
        pages: names of the pages of all languages, which link to each other.
    """
    kept = kept_discoveries(records)
    head = HEAD[language].format(
        other=pages[1 - language],
        looks=", ".join(map(str, LOOKS)),
        levels=", ".join(f"{level:.1%}" for level in levels()),
        hours=f"{sum(record['seconds'] for record in records) / 3600:.1f}",
        devices=SEMICOLON[language].join(dict.fromkeys(device_of(record, language) for record in records)),
        flat=f"{FLAT:g}",
        **counted(records, kept),
    )
    sections = [section(record, pictures, language, set(drawn)) for record in records]
    return "\n".join([head, contents(records, language, kept), *sections])


def kept_discoveries(records: Sequence[Record]) -> dict[tuple[str, int, int], bool]:
    """Return for each case with a p-value whether Benjamini and Hochberg's procedure keeps it: (study, claim, case)."""
    places = [
        ((record["study"], claim["number"], i), case["p"])
        for record in records
        for claim in record["claims"]
        for i, case in enumerate(claim["cases"])
        if case.get("p") is not None
    ]
    return dict(zip([place for place, _ in places], discoveries([p for _, p in places]), strict=True))


def counted(records: Sequence[Record], kept: Mapping[tuple[str, int, int], bool]) -> dict[str, Any]:
    """Count claims, those that were run, cases with a p-value, those that are kept, and those whose word drops out."""
    ran = [was_run(claim) for record in records for claim in record["claims"]]
    dropped = [place for place, on in kept.items() if not on and word_at(records, place) in (HOLDS, REVERSED)]
    tests = {"tests": len(kept), "kept": sum(kept.values()), "dropped": len(dropped), "rate": f"{ERROR:.0%}"}
    return {"claims": len(ran), "ran": sum(ran), **tests}


def was_run(claim: Mapping[str, Any]) -> bool:
    """Return whether at least one case of a claim was measured."""
    return any(case["word"] != NOT_TESTED or case["numbers"] for case in claim["cases"])


def device_of(record: Record, language: int) -> str:
    """Format the devices of a record: "2 cores of AMD EPYC"; other devices as they are."""
    found = re.fullmatch(r"(\d+) (cores?) of (.+)", record["devices"])
    return CORES[language].format(*found.groups()) if found else record["devices"]


def word_at(records: Sequence[Record], place: tuple[str, int, int]) -> str:
    """Return the word of a case."""
    study, number, case = place
    (record,) = (record for record in records if record["study"] == study)
    (claim,) = (claim for claim in record["claims"] if claim["number"] == number)
    return claim["cases"][case]["word"]


def contents(records: Sequence[Record], language: int, kept: Mapping[tuple[str, int, int], bool]) -> str:
    """Format a table of the claims that were run, with the words of their cases, and a table of the others."""
    ran, other = [], []
    for record in records:
        for claim in record["claims"]:
            name = f"{record['study']} {claim['number']}"
            place = f"[{name}](#{record['study']}-{claim['number']})", cell(claim["said"][language])
            if was_run(claim):
                ran.append((*place, cell(words_of(record["study"], claim, language, kept))))
            else:
                other.append(place)
    parts = table(CONTENTS[language], ran)
    if other:
        parts += [f"**{NOT_RUN[language]}**", "", *table(CONTENTS[language][:2], other)]
    return "\n".join(parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format the lines of a Markdown table, and an empty line after it."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:], ""]


def words_of(study: str, claim: Mapping[str, Any], language: int, kept: Mapping[tuple[str, int, int], bool]) -> str:
    """Format the words of a claim's cases, equal ones together: "**holds**: 1 head, 2 heads; **fails**: 8 heads"."""
    found: dict[str, list[str]] = {}
    for i, case in enumerate(claim["cases"]):
        mark = "†" if case["word"] in (HOLDS, REVERSED) and kept.get((study, claim["number"], i)) is False else ""
        place = named(case, language)
        found.setdefault(WORDS[case["word"]][language] + mark, []).append(place)
    if len(found) == 1:
        return f"**{next(iter(found))}**"
    parts = [
        f"**{word}**{COLON[language]}{LISTED[language].join(filter(None, names))}" for word, names in found.items()
    ]
    return SEMICOLON[language].join(parts)


def named(case: Mapping[str, Any], language: int) -> str:
    """Format a case and its condition: "4 heads against 1 (1,000 updates)"."""
    name, at = case["name"][language], case["at"][language]
    return BRACKETS[language].format(name, at) if name and at else name or at


def section(record: Record, pictures: Path, language: int, drawn: set[str]) -> str:
    """Format the section of one study: its figures and command, then each claim."""
    versions, study = record["versions"], record["study"]
    figures = [name for name in (f"{study}.png", f"{study}-differences.png") if name in drawn]
    known = {"python": versions["python"], "jax": versions["jax"], "devices": device_of(record, language)}
    ran = RAN[language].format(command=record["command"], seconds=f"{record['seconds']:,.0f}", **known)
    parts = [f"## {study}\n", f"{record['title'][language]}{STOP[language]}\n"]
    parts += [f"![{record['title'][language]}]({(pictures / name).as_posix()})\n" for name in figures]
    parts += [ran, *(claim_part(study, claim, language) for claim in record["claims"])]
    return "\n".join(parts)


def claim_part(study: str, claim: Mapping[str, Any], language: int) -> str:
    """Format one claim: its sentence, the table of its cases, the criterion, and the sentence to say instead.

    A claim that was not run has no such sentence: it would be the result of a measurement.
    """
    said = QUOTED[language].format(claim["said"][language])
    lines = [f'<a id="{study}-{claim["number"]}"></a>', f"### {study} {claim['number']}{COLON[language]}{said}\n"]
    rows = []
    for case in claim["cases"]:
        word = f"**{WORDS[case['word']][language]}**"
        if case["reason"][language]:
            word += f"{COLON[language]}{case['reason'][language]}"
        rows.append([*map(cell, (named(case, language), case["measured"][language], word))])
    lines += table(CASES[language], rows)
    lines += [f"{CRITERION[language]}{COLON[language]}{claim['criterion'][language]}{STOP[language]}"]
    changes = dict.fromkeys(name for case in claim["cases"] for name in case["numbers"].get("changes", {}))
    if changes:
        names = LISTED[language].join(f"`{name}`" for name in changes)
        lines.append(f"{DIFFERS[language]}{COLON[language]}{names}{STOP[language]}")
    if claim["changed"]:
        lines.append(CHANGED[language].format(what="; ".join(claim["changed"])))
    if was_run(claim):
        lines += ["", f"**{INSTEAD[language]}**{COLON[language]}{claim['instead'][language]}"]
    lines.append("")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


COLON, STOP, BRACKETS = Text(": ", "："), Text(".", "。"), Text("{} ({})", "{}（{}）")
LISTED, QUOTED = Text(", ", "、"), Text('"{}"', "“{}”")
CONTENTS = (("claim", "often said", "word"), ("论断", "常见的说法", "结论"))
CASES = (("case", "measured", "word"), ("情形", "测量", "结论"))
NOT_RUN, CORES = Text("Not run yet", "尚未运行"), Text("{0} {1} of {2}", "{2} 的 {0} 个核")
CRITERION, INSTEAD = Text("Criterion", "判据"), Text("Say instead", "更准确的说法")
DIFFERS = Text("Settings in which the compared models differ", "相比较的模型之间不同的设置")
CHANGED = Text(
    "The criterion was changed after the first models were trained: {what}.", "首批模型训练之后判据有改动：{what}。"
)
RAN = Text(
    "`{command}`: {seconds} s on {devices}, Python {python}, JAX {jax}.\n",
    "`{command}`：{seconds} 秒，{devices}，Python {python}，JAX {jax}。\n",
)
