"""The ladder: rungs of one size on the same pairs; words follow the lanes, whatever they are."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.studies import ladder
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts import pairs, rungs
from experiments.tasks.framing import frame_for
from tests.fixtures.lanes import arms_of, trained, words
from tests.fixtures.speeds import core_of
from transformer.decoding import generate
from transformer.errors import UserError

EXPERIMENT = ladder.experiment_dates(ladder.LadderSettings())


@pytest.fixture(scope="module")
def held():
    return pairs.read_pairs(None, locales=("en_US",), examples=40, held_out=9, longest=30)


@pytest.mark.parametrize("name", core_of(rungs.ROWS, lambda name: name in (rungs.RNN, rungs.TRANSFORMER)))
def test_rungs_have_as_many_parameters(name):
    model = rungs.of_size(rungs.ROWS[name], 50, 130_000, name)
    assert number_of_parameters(model) == pytest.approx(130_000, rel=rungs.EQUAL)


def test_a_size_that_no_width_gives_is_an_error():
    with pytest.raises(UserError, match=r"no even width gives the rung 'RNN'.*larger --width"):
        rungs.of_size(rungs.ROWS[rungs.RNN], 50, 800, rungs.RNN)


def test_every_architecture_has_the_same_answers(held):
    batches = {name: pairs.as_batch(held, held.check, name) for name in ("seq2seq", "decoder_only", "encoder_only")}
    for data in batches.values():
        answers = [row[weights > 0] for row, weights in zip(data["labels"], data["loss_weights"], strict=True)]
        assert all(np.array_equal(a[:-1], target) for a, (_, target) in zip(answers, held.check, strict=True))
        assert {x.shape[0] for x in data.values()} == {9}


@pytest.mark.more
@pytest.mark.parametrize("architecture", ["seq2seq", "rnn_seq2seq", "decoder_only", "encoder_only"])
def test_what_is_written_is_what_each_source_gives_by_itself(held, architecture):
    model = transformer.build(
        dict(architecture=architecture, vocab_size=held.vocabulary, width=8, num_heads=2, num_layers=1)
    )
    params = model.init(jax.random.key(0), 2.0)
    prompts = jax.tree.map(jnp.asarray, pairs.as_prompts(held, held.check, architecture))
    found = pairs.decode_greedily(model, params, prompts, held.max_answer_length, at_once=4)
    assert found.shape == (9, held.max_answer_length)
    for i in (0, 8):
        prompt = frame_for(architecture, held.max_answer_length).prompt(held.check[i][0])
        alone = {name: jnp.asarray(x)[None] for name, x in prompt.items()}
        expected = generate(model, params, alone, steps=held.max_answer_length, end=SpecialTokens.end)
        assert np.array_equal(found[i], expected.tokens[0])


def test_texts_end_at_their_end_token(held):
    target = held.check[0][1]
    longer = np.concatenate([target, [SpecialTokens.end], target])
    assert pairs.decode_targets(held, [target, longer]) == [held.tokenizers.target.decode(target)] * 2


def test_held_out_days_are_no_days_that_are_learned(held):
    def days(part):
        return {target.tobytes() for _, target in part}

    assert not days(held.train) & days(held.check)


def sentences(folder):
    lines = [f"ein Satz mit {i % 7} Worten" for i in range(60)]
    (folder / "train.de").write_text("\n".join(lines) + "\n")
    with gzip.open(folder / "train.en.gz", "wt") as file:
        file.write("\n".join(line.replace("ein Satz mit", "a sentence of") for line in lines) + "\n")
    return pairs.read_pairs(str(folder), locales=(), examples=50, held_out=9, longest=30)


def test_a_folder_of_aligned_sentences_is_read(tmp_path):
    held = sentences(tmp_path)
    assert len(held.train) == 50
    assert held.check
    assert held.max_answer_length <= 31


def test_a_missing_folder_or_file_is_named_with_what_to_do(tmp_path):
    def read(folder):
        return pairs.read_pairs(str(folder), locales=(), examples=1, held_out=1, longest=9)

    with pytest.raises(UserError, match=r"--data .*nowhere is not a folder.*train\.de.*Point --data=DIR"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no train\.de.*Point --data=DIR"):
        read(tmp_path)


def test_sentences_that_are_not_given_are_asked_for():
    with pytest.raises(UserError, match=r"translation needs sentences.*train\.de.*Point --data=DIR"):
        ladder.experiment_sentences(ladder.TranslationSettings())


@pytest.mark.more
def test_scores_are_sums_over_the_pairs_of_a_batch(held):
    model = transformer.build(dict(vocab_size=held.vocabulary, width=8, num_heads=2, num_layers=1))
    params, data = model.init(jax.random.key(0)), pairs.as_batch(held, held.check, "seq2seq")
    found = pairs.pair_scores(model, params, jax.tree.map(jnp.asarray, data))
    logits = np.asarray(model.apply(params, jax.tree.map(jnp.asarray, data))["logits"], float)
    right_NT = (logits.argmax(-1) == data["labels"]) * data["loss_weights"]
    tokens_N = [len(target) + 1 for _, target in held.check]
    assert [float(x) for x in found["accuracy"]] == [right_NT.sum(), sum(tokens_N)]
    assert [float(x) for x in found["exact"]] == [np.sum(right_NT.sum(1) == tokens_N), 9]
    nats = -(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    own = np.take_along_axis(nats, data["labels"][..., None], 2)[..., 0]
    np.testing.assert_allclose(float(found["loss"][0]), (own * data["loss_weights"]).sum(), rtol=1e-5)


@pytest.mark.parametrize("architecture", ["seq2seq", "decoder_only", "encoder_only"])
def test_counted_shares_are_of_the_places_of_an_answer(held, architecture):
    batches = pairs.in_batches(pairs.as_batch(held, held.check, architecture), 3)
    places, V = held.max_answer_length, held.vocabulary
    nats, count = 0.0, 0
    for _, target in held.check:
        for place, token in enumerate([*target, SpecialTokens.end]):
            seen = [[*t, SpecialTokens.end][place] for _, t in held.train if len(t) >= place]
            nats -= np.log((seen.count(token) + 1) / (len(seen) + V))
            count += 1
    assert places >= max(len(t) for _, t in held.check) + 1
    assert pairs.counted_by_place(held, batches) == pytest.approx(nats / count)


def scores(exact):
    return {name: {"exact": x, "accuracy": x, "loss": 0.5} for name, x in zip(rungs.ROWS, exact, strict=True)}


def test_words_follow_the_lanes(tmp_path):
    rising = words(EXPERIMENT, scores((0.1, 0.3, 0.5, 0.7, 0.9, 0.9, 0.9)), tmp_path / "a")
    assert rising == {1: ["holds"] * 4, 2: ["fails"] * 2, 6: ["holds"] * 2}
    falling = words(EXPERIMENT, scores((0.9, 0.7, 0.5, 0.3, 0.29, 0.5, 0.1)), tmp_path / "b")
    assert falling == {1: ["reversed"] * 3 + ["no difference"], 2: ["holds"] * 2, 6: ["fails"] * 2}


def test_every_rung_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    for i, some in enumerate(({}, dict(list(scores([0.5] * 7).items())[:2]), scores([0.5] * 7))):
        assert len(ladder.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))}).axes) == 3
