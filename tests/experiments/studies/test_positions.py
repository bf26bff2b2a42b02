"""Positions: codes that are not learned, bytes that are read far and near; words follow the lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import positions
from experiments.studies.frame.experiment import CHOICE, KEPT, held_out_batches
from experiments.studies.parts import text
from tests.fixtures.lanes import trained, words

EXPERIMENT = positions.experiment(positions.PositionsSettings())


@pytest.mark.more
def test_a_fixed_code_takes_the_place_of_the_table_and_learns_nothing():
    model = positions.model_of(positions.RAW, 4, 8)
    params, batch = model.init(jax.random.key(0)), {"target": jnp.arange(6)[None]}
    table = params["input"]["positions"]["table"]
    assert table.shape == (4 * positions.FURTHER, 8)
    other = {**params, "input": {"positions": {"table": table + 7.0}}}
    assert np.array_equal(model.apply(params, batch)["logits"], model.apply(other, batch)["logits"])
    moved = positions.model_of(positions.SHARE, 4, 8).apply(params, batch)["logits"]
    assert not np.allclose(model.apply(params, batch)["logits"], moved)


def test_codes_are_unbounded_and_bounded_and_no_norm_takes_them_out():
    raw_PD, share_PD = (positions.CODES[name](16, 6, 8) for name in (positions.RAW, positions.SHARE))
    assert np.abs(raw_PD).max() == 15.0
    assert np.abs(share_PD[:8]).max() < 1.0
    np.testing.assert_allclose(raw_PD.mean(1), 0.0, atol=1e-6)
    waves_PD, large_PD = (positions.CODES[name](16, 6, 8) for name in (positions.WAVES, positions.LARGE))
    assert np.abs(waves_PD).max() == 1.0
    np.testing.assert_allclose(large_PD, 8.0 * waves_PD)


@pytest.mark.more
def test_bytes_beyond_are_read_far_and_as_the_last_of_short_windows(tiny_text):
    model = positions.model_of("alibi", 8, 8)
    sample = text.windows(3, 32)
    (batch,) = held_out_batches(sample, jnp.asarray(text.corpus(tiny_text)[0]), count=1, stream=CHOICE)
    params = model.init(jax.random.key(0))

    def nats(part):
        logits = np.asarray(jax.nn.log_softmax(model.apply(params, part)["logits"]))
        return -np.take_along_axis(logits, np.asarray(part["labels"])[..., None], 2)[..., 0]

    near = 0.0
    for start in range(16, 32, 2):
        near += nats({name: x[:, start + 2 - 8 : start + 2] for name, x in batch.items()})[:, -2:].sum()
    found = positions.beyond(model, params, batch, length=8)
    np.testing.assert_allclose(found[KEPT][0], near - nats(batch)[:, 16:].sum(), atol=1e-3)
    assert float(found[KEPT][1]) == 3 * 16
    np.testing.assert_allclose(found["loss"][0], nats({n: x[:, :8] for n, x in batch.items()}).sum(), rtol=1e-4)


def test_words_follow_the_lanes(tmp_path):
    losses = {positions.WAVES: 1.7, positions.SHARE: 1.7, positions.LARGE: 1.8, positions.RAW: 1.8}
    scores = {name: {"loss": losses.get(name, 1.7), "accuracy": 0.5, KEPT: -0.5} for name in EXPERIMENT.arms}
    scores["alibi"][KEPT] = 0.0
    assert words(EXPERIMENT, scores, tmp_path / "a") == {
        1: ["no difference", "no difference", "holds", "holds"],
        2: ["fails"],
        3: ["fails", "fails", "holds", "fails", "fails"],
    }


def test_the_figure_has_panels_of_what_ran_alone(tmp_path):
    scores = {name: {"loss": 1.7, "accuracy": 0.5, KEPT: -0.5} for name in EXPERIMENT.arms}
    codes = {name: scores[name] for name in positions.CODES}
    for i, (some, count) in enumerate(((codes, 1), (scores, 3))):
        figure = positions.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))})
        assert len(figure.axes) == count
        assert all(axes.has_data() for axes in figure.axes)


def test_the_text_of_the_first_claim_names_its_comparisons():
    (first, *_) = EXPERIMENT.questions
    for i, names in enumerate(first.contrasts[:2]):
        assert names.name.en in first.instead.en.replace("Sinusoids", "sinusoids"), i
        assert names.name.zh.replace(" ", "") in first.instead.zh.replace(" ", "")
