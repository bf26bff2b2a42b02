"""Claims about what `experiments.generate` writes: lines in the place of their texts, objects of JSONL, a bar."""

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.words import Words
from experiments.runs import answering
from experiments.runs.answering import print_answers, refuse_output, write_answers
from experiments.runs.generation import Texts
from experiments.runs.trained import Request, Written
from experiments.training.progress import count_progress
from transformer.errors import UserError

WORDS = Words.fit(["one two three"] * 2)
LINES = ["one", "", "two three", " ", "three", "one one"]
NUMBERS = [number for number, line in enumerate(LINES) if line.strip()]


class Echo:
    """A run that answers a text with its number and what it was asked."""

    def __init__(self, classes=None, shares=None):
        task = SimpleNamespace(
            classes=classes,
            tokenizers=TokenizerPair.of(WORDS),
            token_labels=lambda ids, tokenizer: [str(i) for i in ids],
            answer=lambda text, ids: f"{text}:{WORDS.decode(ids)}",
        )
        self.experiment, self.params, self.shares = SimpleNamespace(task=task), None, shares

    def write(self, texts, request, numbers, done):
        assert [LINES[number] for number in numbers] == texts
        done(len(texts))
        scores = [-0.5, -2.0, -math.inf][: request.num_return or 1]
        return [[Written(WORDS.encode(text), score) for score in scores] for text in texts]

    def evaluation(self):
        return SimpleNamespace(
            probabilities=lambda params, texts, one_shape, done: np.tile(self.shares, (len(texts), 1))
        )


def asked(num_return=None):
    return Texts([LINES[number] for number in NUMBERS], NUMBERS, Request(num_return=num_return))


def objects(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("part", [1, 2, 100])
def test_each_line_and_each_object_stands_in_the_place_of_its_text(part, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(answering, "PART", part)
    print_answers(Echo(), LINES, asked())
    assert capsys.readouterr() == ("one:one\n\ntwo three:two three\n\nthree:three\none one:one one\n", "")
    write_answers(Echo(), LINES, asked(), str(tmp_path / "out.jsonl"))
    found = objects(tmp_path / "out.jsonl")
    assert [one["text"] for one in found] == LINES
    assert found[2] == {"text": "two three", "answer": "two three:two three", "num_tokens": 2, "score": -0.5}
    assert found[3] == {"text": " ", "answer": "", "num_tokens": 0, "score": None}
    assert capsys.readouterr() == ("", "")


def test_of_a_beam_all_answers_that_there_are_stand_in_their_order(tmp_path):
    write_answers(Echo(), LINES, asked(num_return=3), str(tmp_path / "out.jsonl"))
    first, blank = objects(tmp_path / "out.jsonl")[:2]
    assert [one["score"] for one in first["answers"]] == [-0.5, -2.0]
    assert first["answers"][0] == {name: first[name] for name in ("answer", "num_tokens", "score")}
    assert blank == {"text": "", "answer": "", "num_tokens": 0, "score": None, "answers": []}


def test_labels_carry_their_probabilities(tmp_path, capsys):
    run = Echo(("good", "bad"), np.array([0.25, 0.75]))
    print_answers(run, LINES[:2], asked()._replace(texts=["one"], numbers=[0]))
    assert capsys.readouterr().out == "bad 75.0%, good 25.0%\n\n"
    write_answers(run, LINES, asked(), str(tmp_path / "out.jsonl"))
    found = objects(tmp_path / "out.jsonl")
    assert found[0] == {"text": "one", "label": "bad", "probabilities": {"bad": 0.75, "good": 0.25}}
    assert found[1] == {"text": "", "label": None, "probabilities": None}


def test_the_file_appears_when_it_is_whole(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(answering, "PART", 2)
    run = Echo()
    answers, run.write = iter([run.write, fail]), lambda *given: next(answers)(*given)
    with pytest.raises(KeyboardInterrupt):
        write_answers(run, LINES, asked(), str(tmp_path / "out.jsonl"))
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "there.jsonl").write_text("mine")
    for path, part in (
        (tmp_path / "there.jsonl", "--output is a file that is there already"),
        (tmp_path, "--output is a folder that is there already"),
        (tmp_path / "none" / "x.jsonl", "--output is in no folder that is there; .* mkdir -p"),
    ):
        with pytest.raises(UserError, match=part):
            refuse_output(str(path))
    refuse_output(None)
    refuse_output(str(tmp_path / "new.jsonl"))


def test_a_bar_counts_on_a_terminal_and_nothing_is_written_elsewhere():
    def shown(total, **console):
        file = io.StringIO()
        with count_progress(total, 3, "texts", Console(file=file, width=120, **console)) as done:
            done(4)
        return file.getvalue()

    assert "texts 7/9" in shown(9, force_terminal=True)
    assert shown(1, force_terminal=True) == ""
    assert shown(9) == ""
