"""Models trained with positions: codes that are not learned, losses by position; verdicts follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import positions
from experiments.studies.frame.training import held_out
from experiments.studies.parts import text

SEEDS = np.array([-0.001, 0.0, 0.001])


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


@pytest.mark.more
def test_the_loss_by_position_has_the_mean_of_the_loss(tiny_text):
    model, (batch,) = (
        positions.model_of("alibi", 4, 8),
        held_out(text.windows(3, 16), jnp.asarray(text.corpus(tiny_text)[0])),
    )
    params = model.init(jax.random.key(0))
    loss_T = positions.loss_by_position(model, params, batch)
    logits = model.apply(params, batch)["logits"]
    nats = -jax.nn.log_softmax(logits)[jnp.arange(3)[:, None], jnp.arange(16), batch["labels"]]
    np.testing.assert_allclose(loss_T, nats.mean(0), rtol=1e-5)


@pytest.mark.more
def test_bytes_beyond_are_read_as_the_last_of_short_windows(tiny_text):
    model = positions.model_of("none", 8, 8)
    (batch,) = held_out(text.windows(3, 32), jnp.asarray(text.corpus(tiny_text)[0]))
    params = model.init(jax.random.key(0))
    losses = []
    for start in range(16, 32, 2):
        short = {name: x[:, start + 2 - 8 : start + 2] for name, x in batch.items()}
        losses.append(positions.loss_by_position(model, params, short)[-2:].mean())
    np.testing.assert_allclose(positions.at_the_end(model, params, batch, 8, 2), np.mean(losses), rtol=1e-5)


@pytest.mark.more
def test_what_is_trained_is_tested_on_longer_windows(tiny_text, monkeypatch):
    monkeypatch.setattr(positions, "KINDS", (positions.SINUSOIDAL,))
    monkeypatch.setattr(positions, "CODES", {positions.RAW: positions.CODES[positions.RAW]})
    settings = positions.PositionsSettings(steps=2, length=8, width=8, batch=2, text=tiny_text, seeds=(0, 5))
    found = positions.measure(settings)
    assert set(found["loss_BR"]) == {positions.SINUSOIDAL, positions.RAW}
    assert found["wide"] == 2
    assert all(x.shape == (16, 2) for x in found["loss_BR"].values())
    assert all(x.shape == (2,) for x in found["short_R"].values())


def numbers(raw=2.5, share=2.0, sinusoidal=2.0, rises=None):
    """Losses in eight bins, two of them within T."""
    level = {positions.RAW: raw, positions.SHARE: share, positions.SINUSOIDAL: sinusoidal}
    loss, short = {}, {}
    for name in (*positions.KINDS, *positions.CODES):
        within, up = level.get(name, 2.0), (rises or {}).get(name, 0.0)
        loss[name] = np.array([within] * 2 + [within + up] * 6)[:, None] + SEEDS
        short[name] = np.full(3, within)
    return {"trained_length": 8, "wide": 4, "loss_BR": loss, "short_R": short}


def test_verdicts_follow_the_numbers():
    def found(**changed):
        return [c.verdict for c in positions.judge(numbers(**changed))]

    assert found() == ["holds", "holds", "holds"]
    assert found(share=2.2, sinusoidal=2.0)[0] == "shape only"
    assert found(raw=2.0)[0] == "differs"
    rises = {"sinusoidal": 0.5, "learned": 0.5, "none": 0.5, "rotary": 0.5}
    assert found(rises=rises)[1:] == ["differs", "holds if they are alibi or relative"]
    assert found(rises=dict.fromkeys(positions.KINDS, 0.5))[1:] == ["differs", "differs"]


def test_the_loss_of_a_lane_that_diverged_does_not_stay():
    made = numbers()
    assert positions.loss_stays(made, "alibi")
    made["loss_BR"]["alibi"][:, 1] = np.nan
    assert not positions.loss_stays(made, "alibi")
    assert not positions.loss_stays(numbers(rises={"alibi": 0.03}), "alibi")
    assert positions.loss_stays(numbers(rises={"alibi": 0.01}), "alibi")


def test_the_figure_has_three_panels():
    assert len(positions.draw(numbers()).axes) == 3
