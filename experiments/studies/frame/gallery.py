"""The gallery: a Markdown page of claims that are often made, the numbers measured, and what to say instead."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.data.stored_json import Fields, read_json
from experiments.storage.workdir import write_text_atomically

CLAIM = Fields(dict.fromkeys(("said", "verdict", "criterion", "measured", "instead"), str))

RECORD = Fields(
    {
        **dict.fromkeys(("study", "title", "command", "devices"), str),
        "claims": [CLAIM],
        "seconds": float,
        "seeds": [int],
        "versions": Fields({"python": str, "jax": str}),
    }
)
"""Shape of a record."""

HEAD = """# Studies

Claims that are often made about attention, measured. Each verdict is computed from the numbers by the criterion \
beside it, and needs three seeds; with fewer it is a preview. ± is the 95 % interval of the mean over seeds. `make \
studies` makes the figures and numbers in `runs/studies`; `python -m experiments.studies NAME --help` lists the \
settings of one. The numbers behind this page are the records beside its figures; `--workdir=docs/studies \
--gallery=STUDIES.md` puts a study that is run again in its place.
"""


def write_gallery(path: Path, folder: Path, names: Iterable[str]) -> list[str]:
    """Write the page of the records that a folder holds, and return their names.

    Raises:
        UserError: a record is damaged.
        OSError: the page could not be written.
    """
    records = [read(folder / f"{name}.json") for name in names if (folder / f"{name}.json").exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, page(records, Path(os.path.relpath(folder.absolute(), path.absolute().parent))))
    return [record["study"] for record in records]


def page(records: Sequence[Mapping[str, Any]], pictures: Path) -> str:
    """Format the page of the records; `pictures` is the folder of their figures, relative to the page."""
    sections = [section(record, (pictures / f"{record['study']}.png").as_posix()) for record in records]
    return "\n".join([HEAD, contents(records), *sections])


def read(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UserError: the file is damaged, or no record of a study.
    """
    return read_json(path, RECORD, do="Delete it, and run the study again.")


def contents(records: Iterable[Mapping[str, Any]]) -> str:
    """Format a table of all claims with their verdicts."""
    rows = [
        f"| [{record['study']}](#{record['study']}) | {cell(claim['said'])} | **{cell(claim['verdict'])}** |"
        for record in records
        for claim in record["claims"]
    ]
    return "\n".join(["| study | often said | verdict |", "|---|---|---|", *rows, ""])


def section(record: Mapping[str, Any], picture: str) -> str:
    """Format the section of one study: its figure and command, then each claim."""
    versions = record["versions"]
    parts = [
        f"## {record['study']}\n",
        f"{record['title']}.\n",
        f"![{record['title']}]({picture})\n",
        f"`{record['command']}`: {record['seconds']:g} s on {record['devices']}, Python {versions['python']}, "
        f"JAX {versions['jax']}; seeds {', '.join(map(str, record['seeds']))}.\n",
        "| often said | measured | verdict (criterion) | say instead |",
        "|---|---|---|---|",
    ]
    for claim in record["claims"]:
        verdict = f"**{claim['verdict']}** ({claim['criterion']})"
        parts.append(f"| {' | '.join(map(cell, (claim['said'], claim['measured'], verdict, claim['instead'])))} |")
    return "\n".join([*parts, ""])


def cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
