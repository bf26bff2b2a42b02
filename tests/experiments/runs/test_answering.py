"""Claims about what `experiments.generate` writes: lines in the place of their texts, objects of JSONL, a bar."""

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers as library
from rich.console import Console
from tokenizers import decoders, models

from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import TOKENIZERS
from experiments.data.tokenizers.tokens import REPLACEMENT
from experiments.data.tokenizers.words import Words
from experiments.runs import answering
from experiments.runs.answering import pieces, print_answer, print_answers, refuse_output, write_answers
from experiments.runs.generation import Answer, Texts
from experiments.runs.trained import Request, Written
from experiments.training.progress import count_progress
from tests.experiments.data.tokenizers.test_table import fitted
from tests.fixtures.texts import CORPUS
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


def decoders_of_files():
    """Files whose decoders change what a token is written as by where it stands."""
    words = {word: i for i, word in enumerate(["[U]", "the", "cat", "##s", "s", ".", "é", "no"])}
    marked = {word: i for i, word in enumerate(["[U]", "\u2581the", "\u2581cat", "s", "\u2581", "."])}
    files = {
        "word pieces": (models.WordPiece(words, unk_token="[U]"), decoders.WordPiece()),
        "words without a decoder": (models.WordLevel(words, unk_token="[U]"), None),
        "marked spaces": (models.WordLevel(marked, unk_token="[U]"), decoders.Metaspace()),
    }
    for name, (model, decoder) in files.items():
        made = library.Tokenizer(model)
        if decoder is not None:
            made.decoder = decoder
        yield pytest.param(TokenizerFile(made.to_str()), id=name)


@pytest.mark.parametrize(
    "tokenizer", [*(pytest.param(fitted(name), id=name) for name in TOKENIZERS), *decoders_of_files()]
)
def test_the_pieces_of_an_answer_are_its_text_and_no_part_of_a_character_is_shown(tokenizer):
    random = np.random.default_rng(0)
    rows = [tokenizer.encode(text) for text in CORPUS]
    rows += [random.integers(0, tokenizer.size + 2, 9) for _ in range(60)]
    for before in ([], tokenizer.encode("the cat").tolist()):
        for row in rows:
            shown = list(pieces(lambda ids, before=before: tokenizer.decode_after(before, ids), map(int, row)))
            assert "".join(shown) == tokenizer.decode_after(before, row)
            assert not any(REPLACEMENT in piece for piece in shown[:-1]) or REPLACEMENT in "".join(shown)
    text = "日本 é"
    whole = [piece for piece in pieces(fitted("bytes").decode, map(int, fitted("bytes").encode(text))) if piece]
    assert whole == list(text)


def test_a_text_that_its_next_token_changes_follows_whole_on_a_line_of_its_own():
    written = {0: "", 1: "do", 2: "do n", 3: "don't", 4: "don't go"}
    assert list(pieces(lambda ids: written[len(ids)], range(4))) == ["do", " n", "\ndon't go"]


class Streaming(Echo):
    """A run that streams its answer."""

    def stream(self, text, request, number):
        return map(int, WORDS.encode(text)) if request.seed is None else None


def test_one_text_is_printed_token_by_token_and_as_a_line_where_it_cannot_be(monkeypatch):
    printed = []
    monkeypatch.setattr(answering, "print", lambda *parts, **how: printed.append((*parts, how)), raising=False)
    monkeypatch.setattr(answering, "answered", lambda *given: [[Answer("whole", (), ())]])
    print_answer(Streaming(), Texts(["two three"], [0], Request()))
    flushed = {"end": "", "flush": True}
    assert printed == [(part, flushed) for part in ("two three:two", " three", "")] + [({},)]
    printed.clear()
    print_answer(Streaming(), Texts(["two three"], [0], Request(seed=3)))
    assert printed == [("whole", {})]
