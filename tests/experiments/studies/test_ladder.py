"""The ladder: rungs of one size on the same pairs; verdicts follow from numbers, whatever they are."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.studies import ladder
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts import ladder_claims, pairs, rungs
from experiments.tasks.framing import frame_for
from tests.fixtures.speeds import core_of
from transformer.decoding import generate
from transformer.errors import UserError

SEEDS = np.array([-0.001, 0.0, 0.001])


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
def test_scores_are_of_each_pair_whatever_pads_its_chunk(held):
    model = transformer.build(dict(vocab_size=held.vocabulary, width=8, num_heads=2, num_layers=1))
    params, data = model.init(jax.random.key(0)), pairs.as_batch(held, held.check, "seq2seq")
    data = jax.tree.map(jnp.asarray, data)
    found = pairs.score_pairs(model, params, data, at_once=4)
    logits = model.apply(params, data)["logits"]
    correct_N = ((jnp.argmax(logits, -1) == data["labels"]) * data["loss_weights"]).sum(1)
    assert np.array_equal(found["correct_N"], correct_N)
    assert np.array_equal(found["tokens_N"], [len(target) + 1 for _, target in held.check])
    assert found["nats_N"].shape == (9,)


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


@pytest.mark.more
def test_translations_of_a_folder_are_measured(tmp_path):
    held = sentences(tmp_path)
    settings = ladder.TranslationSettings(data=str(tmp_path), seeds=(0, 3), rates=(1e-3, 2e-3), steps=2, held_out=9)
    model = transformer.build(dict(vocab_size=held.vocabulary, width=8, num_heads=2, num_layers=1))
    whole = dict(quarter_N=np.zeros(len(held.check), int), inside=[0], translates=True)
    row = ladder.measure_rung("Transformer", model, held, settings, **whole)
    assert np.all((np.array(row["bleu_R"]) >= 0.0) & (np.array(row["bleu_R"]) <= 100.0))


def test_a_missing_folder_or_file_is_named_with_what_to_do(tmp_path):
    def read(folder):
        return pairs.read_pairs(str(folder), locales=(), examples=1, held_out=1, longest=9)

    with pytest.raises(UserError, match=r"--data .*nowhere is not a folder.*train\.de.*Point --data=DIR"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no train\.de.*Point --data=DIR"):
        read(tmp_path)


def test_sentences_that_are_not_given_are_asked_for():
    with pytest.raises(UserError, match=r"translation needs sentences.*train\.de.*Point --data=DIR"):
        ladder.measure_sentences(ladder.TranslationSettings())


def test_a_smooth_curve_is_a_mean_of_what_came_before():
    loss_RU = np.arange(50.0)[None]
    found = ladder.smooth(loss_RU)
    assert found[0, 0] == 0.0
    assert found[0, 3] == 1.5
    assert found[0, -1] == np.arange(30.0, 50.0).mean()


@pytest.mark.more
def test_two_rungs_are_measured(monkeypatch):
    names = (rungs.RNN, rungs.TRANSFORMER)
    monkeypatch.setattr(ladder, "ROWS", {name: rungs.ROWS[name] for name in names})
    monkeypatch.setattr(rungs, "EQUAL", 0.3)
    settings = ladder.LadderSettings(
        locales=("en_US",), examples=40, held_out=9, longest=30, width=8, batch=4, steps=2, seeds=(0, 3), rates=(1e-3,)
    )
    numbers = ladder.measure_dates(settings)
    assert list(numbers["rungs"]) == list(names)
    for row in numbers["rungs"].values():
        assert row["loss_RU"].shape == (2, 2)
        assert row["exact_R"].shape == (2,)
        assert row["accuracy_QR"].shape == (len(numbers["length_Q"]), 2)
        assert np.all(row["accuracy_R"] >= row["exact_R"])


def numbers(accuracy, fall=(0.4, 0.0), updates=None):
    """Numbers of a ladder; `updates` until each rung has its goal, 10 unless given."""
    made = {}
    for i, name in enumerate(rungs.ROWS):
        lost = fall[0] if i == 0 else fall[1]
        value = accuracy[i] + SEEDS
        loss = np.where(np.arange(40) < (updates or {}).get(name, 10), 1.0, 0.1)
        made[name] = {
            "width": 8,
            "parameters": 100 + i,
            "exact_R": value / 2,
            "accuracy_R": value,
            "exact_QR": np.stack([value, value]),
            "accuracy_QR": np.stack([value, value - lost]),
            "loss_RU": np.stack([loss] * 3),
            "seconds_an_update": 0.01,
        }
    return {"data": "dates", "goal": 0.3, "length_Q": [10.0, 20.0], "rungs": made}


def test_ladder_verdicts_follow_the_numbers():
    def found(*a, **k):
        return [c.verdict for c in ladder_claims.judge(numbers(*a, **k))]

    rising = (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5)
    slow = {rungs.RNN: 30, rungs.ATTENDING: 30}
    assert found(rising, updates=slow) == ["holds", "differs", "holds", "holds", "holds", "holds"]
    falling = (0.5, 0.4, 0.3, 0.2, 0.1, 0.3, 0.1)
    verdicts = found(falling, fall=(0.0, 0.0), updates={rungs.TRANSFORMER: 35})
    assert verdicts == ["differs", "holds", "differs", "differs", "differs", "holds if the other is encoder-only"]
    assert found(rising, fall=(0.4, 0.6))[2:4] == ["holds", "differs"]


def test_translations_are_judged_where_there_are_some():
    def found(difference):
        made = numbers((0.5,) * 7)
        for name, row in made["rungs"].items():
            row["bleu_R"] = 20.0 + difference * (name == rungs.TRANSFORMER) + SEEDS
        claims = ladder_claims.judge(made)
        assert "BLEU 20.0" in claims[0].measured
        assert "36.1" in claims[-1].instead
        return claims[-1].verdict

    # The spread of a difference of pairs that share their seed is zero.
    assert found(1.0 + SEEDS) == "holds"
    assert found(-1.0 + SEEDS) == "differs"


def test_a_rung_that_diverged_does_not_do_as_well():
    made = numbers((0.5,) * 7)
    made["rungs"][rungs.ALONE]["accuracy_R"] = np.full(3, np.nan)
    assert ladder_claims.judge(made)[1].verdict == "holds if it is attention alone, self too"


def test_a_goal_that_is_never_reached_is_no_time():
    row = numbers((0.5,) * 7, updates={rungs.RNN: 99})["rungs"][rungs.RNN]
    assert np.all(np.isinf(ladder_claims.time_to_goal(row, 0.3)))
    assert np.array_equal(ladder_claims.time_to_goal({**row, "loss_RU": np.array([[1.0, 0.2]])}, 0.3), [0.02])
    assert ladder_claims.sooner(np.ones(3), np.full(3, np.inf))
    assert not ladder_claims.sooner(np.full(3, np.inf), np.ones(3))


def test_the_ladder_is_drawn():
    assert len(ladder.draw(numbers((0.5,) * 7)).axes) == 3
