"""The study of the path of gradients: norms of a model, and that verdicts follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import gradient_path
from experiments.studies.frame.store import plain
from experiments.studies.parts import gradient_claims as claims
from experiments.studies.parts.jacobians import of_table


@pytest.mark.more
def test_the_norms_are_those_of_the_prefix_by_itself():
    """So that one long sequence gives the last state of each length."""
    model = transformer.build(
        dict(architecture="decoder_only", vocab_size=8, width=4, num_heads=1, num_layers=1, position="rotary")
    )
    params, tokens_T = model.init(0), jnp.array([3, 6, 1, 7, 2])
    found_LT = np.asarray(gradient_path.norms(model, jnp.array([3, 5]), params, tokens_T))
    hidden, table_VD = of_table(model, params, {"target": tokens_T[None, :3]})
    jacobian_DVD = jax.jacobian(lambda table: hidden(table)[-1])(table_VD)
    expected_T = jnp.sqrt(jnp.sum(jacobian_DVD**2, axis=(0, 2)))[tokens_T]
    np.testing.assert_allclose(found_LT[0], expected_T, rtol=1e-5, atol=1e-7)
    assert np.all(found_LT[0, 3:] == 0.0)
    assert np.all(found_LT[1] > 0.0)


def numbers_of(recurrent=0.5, length=0.0, distance=0.0, lengths=(4, 8, 16, 32)):
    """Norms of 4 draws: recurrent ones fall per token, those of attention as powers of the length and the distance."""
    spread_R, T = np.array([1.0, 1.02, 0.98, 1.0]), max(lengths)
    rows = {}
    for name in (*claims.RECURRENT, *claims.ATTENTION):
        norm_RLT = np.zeros((4, len(lengths), T))
        for i, t in enumerate(lengths):
            away = t - np.arange(1, t + 1)
            if name in claims.RECURRENT:
                norm_RLT[:, i, :t] = np.exp(-recurrent * spread_R[:, None] * away)
            else:
                norm_RLT[:, i, :t] = np.maximum(away, 1.0) ** distance * spread_R[:, None]
                norm_RLT[:, i, t - 1] = norm_RLT[:, i, 0] / (float(t) ** length * spread_R)
        rows[name] = gradient_path.picked(norm_RLT, lengths, np.arange(1, T))
    return {"lengths": lengths, "distances": np.arange(1, T), "models": rows}


def words(**changed):
    return [claim.words() for claim in claims.judge(numbers_of(**changed))]


def test_words_follow_the_numbers():
    assert words() == [["holds", "holds", "fails", "fails", "fails"], ["holds"] * 3, ["holds"] * 3]
    assert words(recurrent=0.001)[0][:2] == ["fails", "fails"]
    assert words(length=-1.0)[2] == ["fails"] * 3
    assert words(distance=-1.0)[1] == ["fails"] * 3
    assert words(distance=1.0)[1] == ["holds"] * 3  # it rises, and so does not fall


def test_the_slope_per_token_is_found():
    fall = claims.judge(numbers_of(recurrent=0.5))[0].cases[0].numbers["middle"]
    assert fall == pytest.approx(0.5, rel=1e-3)


def test_ratios_too_small_for_float32_are_left_out():
    numbers = numbers_of(recurrent=5.0)
    lengths_L, ratio_LR = claims.ratios(numbers, "GRU")
    assert lengths_L.tolist() == [4, 8]
    assert ratio_LR.shape == (2, 4)
    assert "The GRU is read up to T = 8" in claims.judge(numbers)[0].instead.en


def test_a_gradient_that_cannot_be_read_at_two_lengths_is_not_tested():
    assert words(recurrent=30.0)[0][:2] == ["not tested"] * 2


def test_the_distance_is_counted_from_the_last_token():
    distance_S, norm_SR = claims.by_distance(numbers_of(recurrent=0.5), "GRU")
    assert distance_S.tolist() == list(range(1, 32))
    np.testing.assert_allclose(norm_SR[:, 0], np.exp(-0.5 * distance_S))


def test_words_of_a_record_are_those_of_the_run():
    stored = plain(numbers_of(length=-1.0))
    assert [claim.words() for claim in claims.judge(stored)] == words(length=-1.0)


def test_the_figure_is_drawn_from_the_numbers():
    assert len(gradient_path.draw(numbers_of()).axes) == 3
