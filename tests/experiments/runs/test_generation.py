"""Claims about the texts of a user: blank ones, unknown parts, and the numbers by which messages name them."""

from types import SimpleNamespace

import pytest

from experiments.data.examples import Document, Pair, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.words import Words
from experiments.runs.answering import print_answers
from experiments.runs.generation import predict, prepare, with_decoding
from experiments.runs.trained import TrainedExperiment, Written, unknown_line
from experiments.tasks.build import build_task
from experiments.tasks.config import TaskConfig
from experiments.tasks.task import TaskSettings
from transformer.decoding import DecodingConfig
from transformer.errors import UserError

WORDS = Words.fit(["the cat sat on a mat"] * 2)
TEXTS = [Document("the cat sat on a mat " * 9)] * 2


class Answering(TrainedExperiment):
    """A run whose model answers every text with one word, and fills every gap with it."""

    def write(self, texts, request=None, numbers=None, done=None):
        count = 1 if self.experiment.task.mask_marker is None else 8
        return [[Written(WORDS.encode(" ".join(["cat"] * count)), -1.0)] for _ in texts]


def run_of(architecture: str, **config) -> TrainedExperiment:
    settings = TaskSettings(TaskConfig("language_modelling", context=8, **config), architecture, batch_size=2)
    task = build_task(settings, Splits(TEXTS, TEXTS, []), TokenizerPair.of(WORDS))
    model = SimpleNamespace(max_length=None, position="rotary")
    return Answering(
        SimpleNamespace(task=task, config=SimpleNamespace(model=model, decoding=DecodingConfig())), None, 0, None
    )


def answer_texts(run, texts, given, seed):
    """The text of the answer to each text."""
    return [answer.text for answer in predict(run, texts, given, seed)]


@pytest.mark.parametrize("prefix", [False, True])
def test_a_language_model_answers_a_blank_text_from_its_start_token(prefix):
    run = run_of("decoder_only", bidirectional_prefix=prefix)
    assert answer_texts(run, [""], {}, None) == ["cat"]
    (batch,) = run.experiment.task.prompts([""])
    assert batch["target"][0, :2].tolist() == [WORDS.begin, 0]
    assert batch["target_lengths"].tolist() == [1]


@pytest.mark.parametrize(("architecture", "config"), [("encoder_only", {}), ("seq2seq", {"objective": "continuation"})])
def test_other_models_refuse_a_blank_text(architecture, config):
    with pytest.raises(UserError, match="text 1 is empty; expected at least one character that is no space"):
        answer_texts(run_of(architecture, **config), [" "], {}, None)


def test_a_blank_line_has_a_blank_answer_and_the_others_keep_their_numbers(capsys):
    def answer_lines(run, lines, given, seed):
        print_answers(run, lines, prepare(run, lines, given, seed, lines=True))
        return capsys.readouterr().out.splitlines()

    run = run_of("decoder_only")
    assert answer_lines(run, ["the", "", " ", "the cat"], {}, None) == ["the cat", "", "", "the cat cat"]
    print_answers(run, ["", " "], prepare(run, ["", " "], {}, None, lines=True))
    assert capsys.readouterr() == ("\n\n", "")
    with pytest.raises(UserError, match="text 3 is far longer than anything in training"):
        answer_lines(run, ["the", "", "cat " * 999], {}, None)
    with pytest.raises(UserError, match="in text 3: the text has no gap to fill; got 'the'"):
        answer_lines(run_of("encoder_only"), ["<mask> cat", "", "the"], {}, None)
    with pytest.raises(UserError, match="--seed is not read by"):
        answer_lines(run, [""], {}, 3)
    gaps = run_of("encoder_only")
    assert answer_lines(gaps, ["", "The <mask> sat"], {}, None) == ["", "The cat sat"]


def test_an_answer_that_is_far_too_long_is_named_as_what_to_lower():
    with pytest.raises(UserError, match=r"got 1000001 tokens with its answer; .* or write fewer new tokens"):
        answer_texts(run_of("decoder_only"), ["the"], {"max_new_tokens": 1_000_000}, None)


def test_a_flag_of_decoding_is_refused_where_no_answers_are_scored():
    with pytest.raises(UserError, match=r"--width is not read where task 'language_modelling' is evaluated; got 3"):
        with_decoding(run_of("decoder_only"), {"width": 3})


def test_answers_of_an_evaluation_that_the_table_of_positions_cannot_hold_are_refused():
    pairs = [Pair("the cat", "a mat")] * 2
    settings = TaskSettings(TaskConfig(), "decoder_only", batch_size=2)
    task = build_task(settings, Splits(pairs, pairs, []), TokenizerPair.of(WORDS))
    model = SimpleNamespace(max_length=9, position="learned")
    config = SimpleNamespace(model=model, decoding=DecodingConfig())
    run = Answering(SimpleNamespace(task=task, config=config), None, 0, None)
    message = "learned positions; got 8, so up to 10 tokens; expected at most 9 tokens"
    with pytest.raises(UserError, match=message):
        with_decoding(run, {"max_new_tokens": 8})


@pytest.mark.parametrize(
    ("given", "num_return", "message"),
    [
        ({}, 2, "--num_return is not read by --strategy=greedy; got 2; expected it only with beam"),
        ({"width": 3}, 4, "--num_return is more than the width of the beam; got 4; expected at most --width=3"),
    ],
)
def test_more_answers_than_a_strategy_has_are_refused(given, num_return, message):
    with pytest.raises(UserError, match=message):
        prepare(run_of("decoder_only"), ["the"], given, None, num_return=num_return)


def test_unknown_words_are_named_and_known_ones_never():
    task = run_of("decoder_only").experiment.task
    assert unknown_line(task, ["the cat", "a mat on the mat"]) is None
    line = unknown_line(task, ["the dog", "the [red] fox\n"])
    assert line == "these words are not in the vocabulary and are read as unknown: [red], dog, fox␣"
    assert unknown_line(task, ["the  cat"]).endswith("unknown: '' (an empty word, beside a space)")
    many = unknown_line(task, [" ".join(map(str, range(50)))])
    assert many.endswith(" and 30 others")
    assert len(unknown_line(task, ["x" * 9999])) < 200
    gaps = run_of("encoder_only").experiment.task
    assert unknown_line(gaps, ["the cat <mask> on a mat", "<mask> cat <mask>"]) is None
