"""Command that runs studies: python -m experiments.studies NAME, or all."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import parse, run
from experiments.studies.frame.claim import StudySettings
from experiments.studies.frame.gallery import write_gallery
from experiments.studies.frame.record import run_study
from experiments.studies.table import STUDIES
from experiments.sweeping.lanes import use_cores
from transformer.errors import problem, unknown

ALL = "all"


@dataclasses.dataclass(frozen=True)
class AllFlags(StudySettings):
    """All studies, one after another: python -m experiments.studies all --preview"""


def main(argv: Sequence[str]) -> None:
    """Run the named study, or all, and write the gallery.

    Raises:
        UserError: an unknown study or flag, or a setting that does not fit.
    """
    names = [*STUDIES, ALL]
    if not argv or argv[0].startswith("-"):
        if set(argv) & {"--help", "-h"}:
            print(overview())
            return
        raise problem(
            "no study is named", expected=f"one of {', '.join(names)}", do="Give its name first; --help lists them."
        )
    name, *words = argv
    if name not in names:
        raise unknown("study", name, names)
    flags, _ = parse(words, AllFlags if name == ALL else STUDIES[name].settings, overridable=False)
    use_cores(None)
    use_compilation_cache()
    for one in STUDIES if name == ALL else [name]:
        if name == ALL and STUDIES[one].needs:
            print(f"{one}: left out, since it needs --{STUDIES[one].needs}; python -m experiments.studies {one} --help")
            continue
        own = flags if name != ALL else STUDIES[one].settings(**dataclasses.asdict(flags))
        print_claims(run_study(one, STUDIES[one], own))
    folder = Path(flags.workdir)
    page = Path(flags.gallery) if flags.gallery else folder / "STUDIES.md"
    write_gallery(page, folder, STUDIES)
    print(f"figures and numbers: {folder}; gallery: {page}")


def overview() -> str:
    """Format the text of `--help`: the studies, each with its title and cost."""
    width = max(map(len, STUDIES))
    lines = [f"  {name.ljust(width)}  {study.title.en}; {study.cost}" for name, study in STUDIES.items()]
    usage = "Runs a study: python -m experiments.studies NAME [--preview ...], or all"
    return "\n".join([usage, "", *lines, "", "NAME --help lists the settings of a study."])


def print_claims(record: dict[str, Any]) -> None:
    """Print each claim of a record with the words of its cases."""
    print(f"{record['study']}: {record['seconds']:g} s")
    for claim in record["claims"]:
        print(f"  {claim['number']}. {claim['said'][0]}")
        for case in claim["cases"]:
            place = ", ".join(part for part in (case["name"][0], case["at"][0]) if part)
            reason = f" ({case['reason'][0]})" if case["reason"][0] else ""
            print(f"     {place + ': ' if place else ''}{case['word']}{reason}\n       {case['measured'][0]}")


if __name__ == "__main__":
    run(main)
