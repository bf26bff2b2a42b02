"""The commands on every kind of task: train, evaluate, generate, explore, bench, on files of the user."""

import functools
import json
import re
from pathlib import Path

import pytest

from experiments import bench, evaluate, explore, generate, train
from experiments.benchmarks import roof
from experiments.cli.flags import run
from tests.fixtures.speeds import core_of

pytestmark = pytest.mark.usefixtures("shapes_once")

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_recipe.py"
COMMON = ["--config.training.steps=2", "--config.training.accumulation=1", "--config.model.dropout=none"]
SENTENCES = ["the cat sat on the mat", "a dog ran to the door", "who was the first man ?", "where is the sea ?"]


def files(folder: Path) -> dict[str, Path]:
    """Write one file for each kind of data; return their paths."""
    contents = {
        "text": "\n".join(SENTENCES * 30) + "\n",
        "labels": "".join(f"{'ask' if '?' in s else 'say'}\t{s}\n" for s in SENTENCES * 10),
        "source": "\n".join(SENTENCES * 10) + "\n",
        "target": "\n".join(s.upper() for s in SENTENCES * 10) + "\n",
    }
    paths = {name: folder / f"{name}.{'tsv' if name == 'labels' else 'txt'}" for name in contents}
    for name, path in paths.items():
        path.write_text(contents[name])
    return paths


TASKS = {
    "classification": (
        "--config.task.name=classification --config.data.path={labels} --config.model.architecture=encoder_only",
        ["label_accuracy", "nats per label", "confusion_test.png"],
        r"(ask|say) \d+\.\d%, (ask|say) \d+\.\d%\n",
    ),
    "language_modelling": (
        "--config.task.name=language_modelling --config.data.path={text} --config.task.context=16"
        " --config.model.architecture=decoder_only",
        ["causal_loss", "bits per byte", "causal_perplexity"],
        "the cat.*\n",
    ),
    "text_to_text": (
        "--config.data.source_path={source} --config.data.target_path={target} --config.task.bleu=13a"
        " --config.training.batch_tokens=200",
        [
            "exact_match",
            "BLEU",
            "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp",
            "chrF",
            "nrefs:1|case:mixed|eff:yes|nc:6",
        ],
        ".*\n",
    ),
}


def succeed(main, argv: list[str], capsys) -> str:
    """Run a command that exits with code 0; return its output."""
    with pytest.raises(SystemExit) as stop:
        run(main, argv)
    out, error = capsys.readouterr()
    assert stop.value.code == 0, error
    return out


def check_files_of_evaluation(workdir: Path, task: str, folder: Path, capsys) -> str:
    """Check the table and the predictions that `evaluate` writes against each other; return what it prints."""
    table, predictions = folder / "scores.json", folder / "predictions.jsonl"
    flags = [f"--workdir={workdir}", f"--output={table}"]
    flags += [] if task == "language_modelling" else [f"--predictions={predictions}"]
    out = succeed(evaluate.main, flags, capsys)
    assert f"table: {table}" in out
    rows = json.loads(table.read_text())["data"]
    scores = {row["metric"]: row for row in rows if row["label"] is None}
    for row in rows:
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
        assert (row["step"], row["workdir"], row["split"]) == (2, str(workdir), "test")
    if task == "language_modelling":
        return out
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(len(lines)))
    right = [line["correct"] for line in lines]
    share = scores["label_accuracy" if task == "classification" else "exact_match"]
    assert (sum(right) / len(right), len(right)) == (pytest.approx(share["value"]), share["count"])
    assert right == [line["answer"] == line["reference"] for line in lines]
    nats, tokens = (sum(line["scores"][name] for line in lines) for name in ("nats", "tokens"))
    assert nats / tokens == pytest.approx(scores["label_loss" if task == "classification" else "loss"]["value"])
    if task == "classification":
        assert "macro-F1" in out
        labels = {row["label"] for row in rows} - {None}
        assert labels <= {"ask", "say"}
        for line in lines:
            assert sum(line["probabilities"].values()) == pytest.approx(1.0)
            assert max(line["probabilities"], key=line["probabilities"].get) == line["answer"]
        for label in labels:
            right = [line["answer"] == label for line in lines if line["reference"] == label]
            (recall,) = [row for row in rows if (row["label"], row["metric"]) == (label, "recall")]
            assert (recall["value"], recall["count"]) == (sum(right) / len(right) if right else None, len(right))
    return out


@pytest.mark.parametrize("task", core_of(TASKS, lambda task: task == "classification"))
def test_every_command_works_on_every_task_refuses_changed_data_and_answers_without_it(
    task, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(roof, "roofs", functools.partial(roof.roofs, (16,), 0.0))
    flags, scores, answer = TASKS[task]
    paths, workdir = files(tmp_path), tmp_path / "run"
    flags = [f"--config={TINY}", "--config.data.source=files", *COMMON, *flags.format(**paths).split()]
    out = succeed(train.main, [*flags, f"--workdir={workdir}"], capsys)
    assert "MFLOPs per example" in out
    assert (workdir / "plots" / "attention.png").stat().st_size > 1000
    written = check_files_of_evaluation(workdir, task, tmp_path, capsys)
    for part in scores:
        assert part in written.replace("\n", ""), written
    if task == "classification":
        assert "bare update" in succeed(bench.main, [*flags, "--steps=1", "--loop=false"], capsys)
    if task == "classification":
        paths["labels"].write_text(paths["labels"].read_text() + "ask\twhat ?\n")
        with pytest.raises(SystemExit) as stop:
            run(train.main, [*flags, f"--workdir={workdir}"])
        assert stop.value.code == 2
        assert "the names or the content of the files have changed" in capsys.readouterr().err
    for path in paths.values():
        path.unlink()
    texts = tmp_path / "texts.txt"
    texts.write_text("the cat\nthe cat ?\n")
    drawn = ["--temperature=0.7", "--seed=3"]
    if task == "classification":
        for flag in (*drawn, "--strategy=greedy", "--max_new_tokens=3"):
            with pytest.raises(SystemExit):
                run(generate.main, [f"--workdir={workdir}", f"--file={texts}", flag])
            assert f"{flag.partition('=')[0]} is not read by a classifier" in capsys.readouterr().err
        drawn = []
    out = succeed(generate.main, [f"--workdir={workdir}", f"--file={texts}", *drawn], capsys)
    assert re.match(answer, out), out
    lines = out.splitlines()
    assert succeed(generate.main, [f"--workdir={workdir}", "--input=the cat", *drawn], capsys) == f"{lines[0]}\n"
    stored = tmp_path / "answers.jsonl"
    flags = [f"--workdir={workdir}", f"--file={texts}", *drawn, f"--output={stored}"]
    assert succeed(generate.main, flags, capsys) == f"answers: {stored}\n"
    objects = [json.loads(line) for line in stored.read_text().splitlines()]
    assert [one["text"] for one in objects] == ["the cat", "the cat ?"]
    found = [one.get("answer", one.get("label")) for one in objects]
    assert all(line.startswith(part) for part, line in zip(found, lines, strict=True))
    picture = tmp_path / "attention.png"
    succeed(explore.main, [f"--workdir={workdir}", "--input=the cat", f"--output={picture}"], capsys)
    assert picture.stat().st_size > 1000
