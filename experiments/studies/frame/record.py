"""Record of a study: NAME.json with these keys; its figures NAME.png and, with trained models, NAME-differences.png.

    {"study", "title", "command", "settings", "versions", "git", "devices", "seconds", "claims", "arms", "numbers"}

Trained lanes are in NAME.jsonl (`frame.store`). JSON has no NaN and no infinity: they are written as the texts "nan",
"inf" and "-inf". A text of the page is a list of its languages.
"""

import dataclasses
import json
import platform
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.comparing.decision import LOOKS
from experiments.runs.pictures import save
from experiments.storage.workdir import git_state, versions, write_text_atomically
from experiments.studies.frame.claim import Claim, Study, StudySettings
from experiments.studies.frame.differences import draw_differences
from experiments.studies.frame.experiment import Baseline, Experiment
from experiments.studies.frame.lab import Facts, Lab, OutOfTimeError
from experiments.studies.frame.store import Store, plain
from experiments.studies.frame.summary import summary
from experiments.studies.frame.text import Text
from experiments.studies.frame.verdicts import judge_question
from transformer import schema
from transformer.errors import problem

DPI = 90
NO_PART = ("workdir", "gallery", "minutes", "claims")
"""Settings that are no part of a record: where results are written, and what of them is computed now."""


def run_study(name: str, study: Study, settings: StudySettings) -> dict[str, Any]:
    """Run a study, write its files, and return the record.

    Raises:
        UserError: a setting that does not fit, or a folder that cannot be written.
    """
    folder = Path(settings.workdir)
    if folder.exists() and not folder.is_dir():
        raise problem(f"--workdir {folder} is not a directory", do="Choose another --workdir.")
    resolved = study.resolve(settings)
    began = time.perf_counter()
    experiment = None if study.experiment is None else study.experiment(resolved)
    if experiment is not None:
        check_claims(resolved, experiment)
        next(iter(experiment.arms.values()))()  # reads its data: a mistake in them comes before the work
    # Judged as they are written, so that the record gives the same words and numbers again.
    numbers = plain(study.measure(resolved))
    claims: list[Claim] = []
    arms: dict[str, Any] = {}
    lab = None
    if experiment is not None:
        lab = Lab(experiment, Store(folder / f"{name}.jsonl"), train=True, minutes=resolved.minutes)
        claims += judge_all(lab, resolved)
        numbers["trained"] = plain(summary(lab))
        arms = {arm: [*facts] for arm, facts in lab.facts.items()}
    seconds = time.perf_counter() - began
    claims = in_order([*claims, *study.judge(numbers)])
    record = {
        "study": name,
        "title": study.title,
        "command": command_of(name, study, settings),
        "settings": {key: value for key, value in schema.to_dict(resolved).items() if key not in NO_PART},
        "versions": versions(),
        "git": git_state(),
        "devices": describe_devices(),
        "seconds": round(trained_seconds(lab) if lab else seconds, 1),
        "claims": [claim_json(claim, lab) for claim in claims],
        "arms": plain(arms),
        "numbers": numbers,
    }
    if any(record["numbers"].values()):
        save(study.draw(record["numbers"]), folder / f"{name}.png", dpi=DPI)
    if lab is not None and (figure := draw_differences(record, lab.experiment.loss_unit.en)) is not None:
        save(figure, folder / f"{name}-differences.png", dpi=DPI)
    write_text_atomically(folder / f"{name}.json", as_json(record))
    return record


def judge_all(lab: Lab, settings: Any) -> list[Claim]:
    """Judge all questions; first, models are trained for those that the settings name, until the time is over."""
    limits = {"max_seeds": settings.max_seeds, "long_seeds": settings.long_seeds}
    train = lab.train
    try:
        for question in lab.experiment.questions if train else ():
            if question.number in (settings.claims or [question.number]):
                judge_question(lab, question, **limits)
    except OutOfTimeError:
        print(f"  --minutes={settings.minutes:g} are over; the same command goes on from here", flush=True)
    # Judged when all are trained: claims share models, and a record must not depend on the order of its claims.
    lab.train = False
    found = [judge_question(lab, question, **limits) for question in lab.experiment.questions]
    lab.train = train
    return found


def judge_record(study: Study, record: Mapping[str, Any], store: Store) -> list[Claim]:
    """Judge a record again from its numbers and lanes, with the questions of now, without building any arm."""
    settings = schema.from_dict(study.settings, record["settings"])
    claims = list(study.judge(record["numbers"]))
    if study.experiment is not None:
        facts = {arm: facts_of(row) for arm, row in record["arms"].items()}
        claims += judge_all(Lab(study.experiment(settings), store, facts=facts), settings)
    return in_order(claims)


def facts_of(row: Sequence[Any]) -> Facts:
    """Return what a record has of an arm."""
    fingerprint, settings, parameters, baselines = row
    return Facts(fingerprint, settings, parameters, {k: Baseline(v[0], Text(*v[1])) for k, v in baselines.items()})


def check_claims(settings: Any, experiment: Experiment) -> None:
    """Check the numbers of `--claims`.

    Raises:
        UserError: a number that no trained claim has.
    """
    known = [question.number for question in experiment.questions]
    if wrong := sorted(set(settings.claims) - set(known)):
        got, expected = ", ".join(map(str, wrong)), f"numbers of trained claims: {', '.join(map(str, known))}"
        raise problem("--claims names no trained claim", got=got, expected=expected, do="Leave it out for all of them.")


def in_order(claims: Sequence[Claim]) -> list[Claim]:
    """Sort claims by their numbers."""
    return sorted(claims, key=lambda claim: claim.number)


def trained_seconds(lab: Lab) -> float:
    """Add the seconds of all lanes of the study's arms."""
    prints = {facts.fingerprint for facts in lab.facts.values()}
    return sum(lane["seconds"] for lane in lab.store.lanes.values() if lane["print"] in prints)


def describe_devices() -> str:
    """Return the number and the kind of the devices; for a CPU its name, where the system has it."""
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    if kind != "cpu":
        return f"{count} x {kind}"
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE) or [platform.processor() or platform.machine()]
    return f"{count} cores of {names[0]}" if count > 1 else f"1 core of {names[0]}"


def as_json(record: Mapping[str, Any]) -> str:
    """Format the file: one line for each entry of `numbers`, so that a long array is one line."""
    head = json.dumps({**record, "numbers": {}}, indent=1, ensure_ascii=False, allow_nan=False)
    rows = [
        f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False, ensure_ascii=False)}" for k, v in record["numbers"].items()
    ]
    return head.removesuffix("{}\n}") + "{\n" + ",\n".join(rows) + "\n }\n}\n"


def command_of(name: str, study: Study, settings: StudySettings) -> str:
    """Return the command that gives these numbers, with the settings that are not at their defaults."""
    default = study.settings()
    words = ["python", "-m", "experiments.studies", name]
    for key in schema.settings(study.settings):
        value = getattr(settings, key)
        if key not in NO_PART and value != getattr(default, key):
            words.append(f"--{key}={schema.show(value)}")
    return shlex.join(words)


def claim_json(claim: Claim, lab: Lab | None) -> dict[str, Any]:
    """Return the fields of a claim, and what of it changed after the first lane was trained."""
    fields = plain(dataclasses.asdict(claim))
    return {**fields, "changed": changed_since(claim.number, lab) if lab else []}


def changed_since(number: int, lab: Lab) -> list[str]:
    """List what a question fixes now in another way than when its first lane was trained."""
    questions = [question for question in lab.experiment.questions if question.number == number]
    if not questions or number not in lab.store.criteria:
        return []
    before = lab.store.criteria[number]["fixed"]
    now = questions[0].criterion(lab.experiment.updates, LOOKS)
    return [
        f"{key}: {before.get(key)} -> {now.get(key)}" if key != "contrasts" else key
        for key in now
        if before.get(key) != now.get(key)
    ]
