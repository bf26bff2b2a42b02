import functools
import itertools

import jax
import numpy as np
import pytest

import transformer
from experiments.data.examples import Pair, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import Characters
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.tasks.build import build_task, reopen_task
from experiments.tasks.config import TaskConfig
from experiments.tasks.task import TaskSettings
from experiments.training.evaluation import Evaluation
from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import randomised
from transformer.decoding import DecodingConfig
from transformer.errors import UserError
from transformer.nn.heads import POOLING

ARCHITECTURES = ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")
BEGIN, END, SEPARATOR = SpecialTokens.begin, SpecialTokens.end, SpecialTokens.separator
TOKENIZERS = TokenizerPair.of(Characters("abcdef"))
LABELS = ("animal", "plant", "stone")
TRAIN = [Pair("abcdef"[i % 6] * (2 * i % 11 + 1), LABELS[i * i % 3 + (i == 7)]) for i in range(23)]
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def task_of(architecture, train=TRAIN, validation=TRAIN[:5], test=(), **settings):
    task_settings = TaskSettings(
        TaskConfig("classification"), architecture, **{"batch_size": 4, "num_buckets": 2, **settings}
    )
    return build_task(task_settings, Splits(list(train), list(validation), list(test)), TOKENIZERS)


@functools.cache
def model_of(architecture, reads=None):
    """A model with random parameters, as a function batch -> class_logits."""
    config = {"architecture": architecture, "vocab_size": TOKENIZERS.size, "num_layers": 1, "width": 12, "num_heads": 3}
    model = transformer.build({**config, "class_head": {"classes": 3, "reads": reads}})
    params = randomised(model.parameter_shapes)
    apply = jax.jit(lambda batch: model.apply(params, batch)["class_logits"])
    return lambda batch: np.asarray(apply({name: x for name, x in batch.items() if not name.endswith("weights")}))


READ = {
    "encoder_only": {"source": [BEGIN, 6, 7, 8, 0, 0], "source_lengths": 4},
    "decoder_only": {"target": [6, 7, 8, SEPARATOR, 0, 0], "target_lengths": 4},
    "seq2seq": {"source": [6, 7, 8, END, 0, 0], "source_lengths": 4, "target": [BEGIN], "target_lengths": 1},
    "rnn_seq2seq": {"source": [6, 7, 8, END, 0, 0], "source_lengths": 4, "target": [BEGIN], "target_lengths": 1},
}


@every_architecture
def test_what_each_architecture_reads(architecture):
    task = task_of(
        architecture, validation=[Pair("abcde", "plant")], train=[Pair("a", "plant"), Pair("b", "stone")] * 2
    )
    batch = next(task.questions(["abc"]))
    assert {name: batch[name][0].tolist() for name in READ[architecture]} == READ[architecture]
    assert set(batch) == {*READ[architecture], "labels", "loss_weights", "example_weights"}
    assert task.max_sequence_length() == 6
    assert task.sequence_length(TOKENIZERS.source.encode("abc"), 0) == 4


@every_architecture
def test_evaluation_has_each_label_once_in_order(architecture):
    task = task_of(architecture)
    assert task.classes == LABELS
    batches = list(task.evaluation_batches(TRAIN, 5))
    assert len({batch["labels"].shape for batch in batches}) == 1
    labels = np.concatenate([batch["labels"][batch["loss_weights"] > 0] for batch in batches])
    assert [LABELS[i] for i in labels] == [pair.target for pair in TRAIN]
    weights = np.concatenate([batch["loss_weights"] for batch in batches])
    assert weights.tolist() == [1.0] * 23 + [0.0] * 2
    assert list(task.evaluation_batches([])) == []


@every_architecture
def test_training_batches_pair_texts_with_their_labels_in_buckets(architecture):
    task = task_of(architecture)
    side = "target" if architecture == "decoder_only" else "source"
    known = {(pair.source, pair.target) for pair in TRAIN}
    shapes, whole = set(), list(itertools.islice(task.training_batches(), 3 * task.plan.batches_per_epoch))
    for batch in whole:
        shapes.add(batch[side].shape)
        texts = [TOKENIZERS.source.decode(row) for row in batch[side]]
        assert {(text, LABELS[i]) for text, i in zip(texts, batch["labels"], strict=True)} <= known
        assert batch["loss_weights"].tolist() == [1.0] * 4
        assert batch[f"{side}_lengths"].tolist() == [len(text) + 1 for text in texts]
    assert sorted(shapes) == [tuple(shape) for shape in task.plan.shapes]
    assert len(shapes) == 2
    for here, there in zip(itertools.islice(task.training_batches(3), 4), whole[3:], strict=False):
        assert all(np.array_equal(here[name], there[name]) for name in here)


CELLS = [(architecture, reads) for architecture in ("encoder_only", "decoder_only") for reads in POOLING]


CORE = [("encoder_only", "max"), ("decoder_only", "mean"), ("decoder_only", "last"), ("rnn_seq2seq", None)]


@pytest.mark.parametrize(
    ("architecture", "reads"),
    core_of([*CELLS, ("seq2seq", None), ("rnn_seq2seq", None)], lambda case: case in CORE),
)
def test_padding_does_not_change_the_output(architecture, reads):  # of one state, all read that one
    task = task_of(architecture)
    model = model_of(architecture, reads)
    texts = ["ab", "fedcba"]
    outputs = []
    for length in (7, 11):
        batch = task._batch([TOKENIZERS.source.encode(text) for text in texts], np.zeros(2, np.int32), length)
        outputs.append(model(batch))
        side = "target" if architecture == "decoder_only" else "source"
        inside = np.arange(batch[side].shape[1]) < batch[f"{side}_lengths"][:, None]
        spoilt = {**batch, side: np.where(inside, batch[side], 9).astype(np.int32)}
        np.testing.assert_allclose(model(spoilt), outputs[-1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-5)
    assert abs(outputs[0][0] - outputs[0][1]).max() > 1e-2


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name in ("decoder_only", "rnn_seq2seq")))
def test_the_state_that_is_read_has_seen_every_token(architecture):
    task = task_of(architecture)
    model = model_of(architecture)
    others = ["abcd"[:i] + "f" + "abcd"[i + 1 :] for i in range(4)]
    outputs = model(next(task.questions(["abcd", *others], 5)))
    assert (abs(outputs[1:] - outputs[0]).max(axis=1) > 1e-4).all()


@every_architecture
def test_a_label_unseen_in_training_is_refused_with_its_text_and_the_nearest(architecture):
    for where in ("validation", "test"):
        with pytest.raises(
            UserError, match=rf"the {where} examples.*'stones' of the text 'abba'.*Did you mean 'stone'"
        ):
            task_of(architecture, **{where: [TRAIN[0], Pair("abba", "stones")]})
    with pytest.raises(UserError, match=r"the given examples.*'water'.*one of animal, plant, stone\. Leave"):
        next(task_of(architecture).evaluation_batches([Pair("abba", "water")]))


def test_one_label_alone_and_fewer_examples_than_a_batch_are_refused():
    with pytest.raises(UserError, match=r"one label alone; got 'plant'; expected two"):
        task_of("seq2seq", train=[Pair("a", "plant")] * 5)
    with pytest.raises(UserError, match=r"smaller than one batch; got 2 examples"):
        task_of("seq2seq", train=[Pair("a", "plant"), Pair("b", "stone")], validation=[])


@every_architecture
def test_texts_beyond_the_limit_are_refused_with_their_number_or_cut_with_a_note(architecture):
    over = sum(len(pair.source) + 1 > 8 for pair in TRAIN)
    assert 1 < over < 20
    with pytest.raises(UserError, match=rf"{over} of 23 training examples are longer.*max_length = 8 tokens"):
        task_of(architecture, limit=8)
    task = task_of(architecture, limit=8, too_long="cut", test=[Pair("f" * 30, "plant")])
    assert f"{over} of 23 training examples are cut to the model's limit" in task.notes
    assert "1 of 1 test examples are cut to the model's limit" in task.notes
    assert len(task.notes) == 2 + any(len(pair.source) > 7 for pair in TRAIN[:5])
    assert task.max_sequence_length() == 8
    batches = [*task.evaluation_batches([Pair("f" * 30, "plant")]), *itertools.islice(task.training_batches(), 5)]
    assert max(value.shape[1] for batch in batches for value in batch.values() if value.ndim == 2) == 8
    longest = max(len(pair.source) + 1 for pair in TRAIN)
    assert task_of(architecture, limit=longest).notes == ()


@every_architecture
def test_a_task_reopened_without_data_asks_alike_and_longer_texts_too(architecture):
    task = task_of(architecture)
    again = reopen_task(task.settings, TOKENIZERS, task.metadata)
    assert (again.classes, again.max_sequence_length()) == (task.classes, task.max_sequence_length())
    texts = ["abc", "f"]
    for here, there in zip(task.questions(texts), again.questions(texts), strict=True):
        assert all(np.array_equal(here[name], there[name]) for name in here | there)
    longer = next(again.questions(["f" * 50]))
    assert max(value.shape[1] for value in longer.values() if value.ndim == 2) == 64  # one of few lengths
    assert max(int(value[0]) for name, value in longer.items() if name.endswith("_lengths")) == 51


@every_architecture
def test_a_classifier_writes_nothing(architecture):
    task = task_of(architecture)
    with pytest.raises(UserError, match="task 'classification' writes no text"):
        task.prompts(["abc"])
    assert not task.generates
    assert list(task.metrics) == ["label_accuracy", "label_loss"]
    view = task.attention_view("abc", np.zeros(0, np.int32))
    assert len(view.keys) == 4
    assert len(view.queries) == (1 if "target" in view.batch and "source" in view.batch else 4)


@every_architecture
def test_classes_that_no_label_has_are_never_predicted(architecture, monkeypatch):
    """A head may have more classes than there are labels."""
    task = task_of(architecture)
    config = {"architecture": architecture, "vocab_size": TOKENIZERS.size, "width": 12, "num_heads": 3}
    evaluation = Evaluation(transformer.build({**config, "class_head": {"classes": 5}}), task, DecodingConfig())
    logits = np.random.default_rng(0).normal(size=(2, 5))
    logits[:, 3:] += 9
    monkeypatch.setattr(evaluation, "_classify", lambda params, batch: logits)
    outputs = evaluation.probabilities(None, ["c", "ab"])  # in the order of their lengths, as they are read
    assert outputs.shape == (2, 3)
    np.testing.assert_allclose(outputs, np.exp(logits[:, :3]) / np.exp(logits[:, :3]).sum(axis=1, keepdims=True))
