"""Computed parts of studies that also train: numbers have the properties known of them, and words follow from "
"numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies.frame.pictures import panels
from experiments.studies.parts import (
    cross_exact,
    heads_exact,
    norms_exact,
    prefixes_exact,
    scaling_claims,
    scaling_exact,
    scores_claims,
    scores_exact,
)
from experiments.studies.parts.batch_norm import FEATURE, LAYER, POSITION
from experiments.studies.parts.identities import UNEXPECTED
from transformer.nn.positions import ROWS

EXACT, COUNTER, UNDECIDED = "holds exactly", "fails, with a counterexample", "undecided"
TINY_SCORES = scores_exact.ScoresExactSettings(
    lengths=(1.0, 30.0), head_width=8, keys=3, draws=64, rounds=6, timed=(4,), seeds=(0, 1, 2)
)


def words(claims):
    return [claim.words() for claim in claims]


def drawn(part, numbers):
    """Check that the panels of a part are drawn."""
    figure, grid = panels(part.PANELS)
    part.draw_panels(grid[0], numbers)
    return all(axes.get_title(loc="left") for axes in grid[0]) and figure is not None


# scaling


def test_the_variance_of_the_inner_product_is_the_width_and_derivatives_are_those_of_autodiff():
    settings = scaling_exact.ScalingExactSettings(width=(4, 36), queries=5, keys=7, pairs=4000, seeds=(0, 1))
    numbers = scaling_exact.measure(settings)
    np.testing.assert_allclose(numbers["dot"]["variance_HR"].mean(1), (4, 36), rtol=0.1)
    np.testing.assert_allclose(numbers["scaled_dot"]["variance_HR"].mean(1), 1.0, rtol=0.1)
    assert np.all(numbers["dot"]["entropy_HR"][1] < numbers["dot"]["entropy_HR"][0])
    assert drawn(scaling_exact, numbers)
    q, keys = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((3,), (5, 3))))
    weights = jax.nn.softmax(0.5 * keys @ q)
    by_scores, by_query = scaling_exact.derivatives(weights[None], keys, 0.5)
    np.testing.assert_allclose(by_scores[0], jnp.linalg.norm(jax.jacobian(jax.nn.softmax)(0.5 * keys @ q)), rtol=1e-5)
    jacobian = jax.jacobian(lambda q: jax.nn.softmax(0.5 * keys @ q))(q)
    np.testing.assert_allclose(by_query[0], jnp.linalg.norm(jacobian), rtol=1e-5)


def scaling_numbers(variance=(16.0, 64.0), scaled=(1.0, 1.0), ratio=(0.2, 0.2), noise=0.001):
    def row(x):
        return np.outer(x, 1.0 + noise * np.array((-1.0, 0.0, 0.5, 0.5)))

    readings = [f"{d}_{s}_HR" for d in scaling_claims.DERIVATIVES for s in scaling_claims.STATISTICS]
    made = {"width": (16, 64), "keys": 8}
    for name, of_variance, of_others in (("dot", variance, ratio), ("scaled_dot", scaled, (1.0, 1.0))):
        own = noise if name == "dot" else 0.0
        made[name] = {"variance_HR": np.outer(of_variance, np.ones(4)), "entropy_HR": row((1.5, 0.5))}
        made[name] |= {r: np.outer(of_others, 1.0 + own * np.array((-1.0, 0.0, 0.5, 0.5))) for r in readings}
    return made


def test_scaling_words_follow_the_numbers():
    def found(place, **numbers):
        return scaling_exact.judge(scaling_numbers(**numbers))[place - 1].words()

    assert found(1) == [EXACT] * 2
    assert found(1, variance=(32.0, 64.0)) == [UNDECIDED, EXACT]
    assert found(1, variance=(1.0, 1.0)) == [UNDECIDED] * 2
    assert found(1, scaled=(9.0, 9.0)) == [EXACT, COUNTER]
    assert found(2) == ["holds"] * 4
    assert found(2, ratio=(1.5, 1.5)) == ["reversed"] * 4
    assert found(2, ratio=(0.8, 0.8)) == ["fails"] * 4
    assert found(2, ratio=(0.5, 0.5), noise=0.1) == ["undecided"] * 4
    assert found(2, ratio=(1.5, 0.2)) == ["reversed", "holds"] * 4


def test_each_head_width_has_a_word_and_neighbours_with_the_same_are_one_case():
    cases = scaling_exact.judge(scaling_numbers(ratio=(1.5, 0.2)))[1].cases
    assert cases[0].name.en == "|dw/dscores|, median query, H = 16"
    assert cases[0].numbers == {"16": pytest.approx(1.5, rel=1e-3)}
    together = scaling_exact.judge(scaling_numbers())[1].cases
    assert together[-1].name.en == "|dw/dq|, mean of the queries, H = 16 to 64"
    assert list(together[-1].numbers) == ["16", "64"]


def test_the_text_on_saturation_is_computed():
    numbers = scaling_numbers(ratio=(1.5, 0.2))
    assert "dw/dscores is small from H = 64 on, and dw/dq from H = 64 on" in scaling_exact.judge(numbers)[1].instead.en
    assert "is 0.200 times" in scaling_exact.judge(numbers)[1].instead.en
    never = scaling_exact.judge(scaling_numbers(ratio=(1.5, 1.5)))[1].instead
    assert "dw/dscores is small at none of these H, and dw/dq at none of these H" in never.en
    assert "H = 16 时的 1.50 奈特" in never.zh


# prefixes


@pytest.mark.more
def test_one_masked_pass_has_the_loss_and_gradient_of_all_prefixes_and_one_without_a_mask_has_not():
    numbers = prefixes_exact.measure(prefixes_exact.PrefixesExactSettings(length=3, width=8, seeds=(0, 1)))
    for reading in prefixes_exact.READINGS:
        assert np.all(numbers["masked"][reading] < 1e-5)
        assert np.all(numbers["unmasked"][reading] > 1e-3)
    assert np.all(numbers["before_R"] > 1e-3)
    assert np.all(numbers["before_alone_R"] == 0.0)
    assert words(prefixes_exact.judge(numbers)) == [[EXACT, EXACT], [COUNTER]]
    figure, grid = panels(1)
    prefixes_exact.draw_panel(grid[0, 0], numbers)
    assert figure.axes


def prefix_numbers(masked=1e-7, unmasked=0.5, before=0.1, alone=0.0):
    rows = {
        name: {reading: np.full(2, x) for reading in prefixes_exact.READINGS}
        for name, x in (("masked", masked), ("unmasked", unmasked))
    }
    return {"length": 16, **rows, "before_R": np.full(2, before), "before_alone_R": np.full(2, alone)}


def test_prefix_words_follow_the_numbers():
    def found(**numbers):
        return words(prefixes_exact.judge(prefix_numbers(**numbers)))

    assert found() == [[EXACT, EXACT], [COUNTER]]
    assert found(masked=0.1) == [[COUNTER, COUNTER], [COUNTER]]
    assert found(unmasked=0.0)[0] == [UNDECIDED] * 2
    assert found(before=0.0)[1] == found(alone=0.1)[1] == [UNDECIDED]
    assert (
        "16 rows are computed in place of 136, 8.5 times fewer" in prefixes_exact.judge(prefix_numbers())[0].instead.en
    )


# heads


def test_heads_with_equal_weights_are_one_wide_head_and_no_others():
    found = heads_exact.concatenated(jax.vmap(jax.random.key)(jnp.arange(2)), heads=2, head_width=3, length=4)
    assert np.all(found["alike_R"] < 1e-5)
    query, keys, value = np.asarray(jax.random.normal(jax.random.key(0), (3, 1, 4, 2, 3)), float)[:, 0]

    def attend(q, k, v):
        scores = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
        return scores / scores.sum(-1, keepdims=True) @ v

    several = np.concatenate([attend(query[:, n], keys[:, n], value[:, n]) for n in range(2)], axis=-1)
    one = attend(*(x.reshape(4, 6) for x in (query, keys, value)))
    np.testing.assert_allclose(found["own_R"][0], np.abs(several - one).max() / np.abs(one).max(), rtol=1e-4)


def test_the_word_on_concatenated_heads_follows_the_numbers():
    def claim(own, alike):
        return heads_exact.judge({"count": 2, "head_width": 3, "own_R": np.array(own), "alike_R": np.full(2, alike)})

    assert claim([0.5, 0.9], 1e-7).words() == [COUNTER]
    assert "smallest difference of the draws 0.500" in claim([0.5, 0.9], 1e-7).cases[0].measured.en
    assert claim([0.5, 1e-7], 1e-7).words() == claim([0.5, 0.9], 0.1).words() == [UNDECIDED]
    assert claim([0.5, 0.9], 0.1).instead == UNEXPECTED


# norms


@pytest.mark.more
def test_statistics_over_positions_let_the_future_in_and_averages_do_not():
    settings = norms_exact.NormsExactSettings(leak_length=4, leak_batch=3, leak_width=4, seeds=(0, 1))
    numbers = norms_exact.measure(settings)
    found = numbers["leaks"]
    assert np.all(found[FEATURE]["learning_future_R"] > 1e-3)
    for row in found.values():
        assert np.all(row["using_future_R"] == 0.0)
        assert np.all(row["using_others_R"] == 0.0)
    assert np.all(found[POSITION]["learning_future_R"] == 0.0)
    assert np.all(found[POSITION]["learning_others_R"] > 1e-3)
    assert np.all(found[LAYER]["learning_others_R"] == 0.0)
    assert np.all(np.diagonal(found[LAYER]["learning_RTT"], axis1=1, axis2=2) > 0.0)
    assert norms_exact.judge(numbers).words() == [EXACT, COUNTER, COUNTER, COUNTER]
    assert drawn(norms_exact, numbers)


def leak_numbers(feature=0.1, position=0.0, using=0.0, layer=0.0):
    leaks = {}
    for name, learning in ((LAYER, layer), (FEATURE, feature), (POSITION, position)):
        rows = {"learning_future_R": learning, "using_future_R": using, "learning_others_R": 0.5}
        leaks[name] = {reading: np.full(2, x) for reading, x in rows.items()}
    return {"leaks": leaks}


def test_leak_words_follow_the_numbers():
    def found(**numbers):
        return norms_exact.judge(leak_numbers(**numbers)).words()

    assert found() == [EXACT, COUNTER, COUNTER, COUNTER]
    assert found(feature=0.0, position=0.1) == [COUNTER, EXACT, COUNTER, COUNTER]
    assert found(using=0.1)[2:] == [EXACT, EXACT]
    assert found(layer=0.1)[0] == UNDECIDED
    assert "derivative 0.50 of the largest" in norms_exact.judge(leak_numbers()).instead.en


# self- and cross-attention


@pytest.mark.more
def test_no_derivative_reaches_the_source_without_cross_attention():
    model = transformer.build(
        dict(architecture="seq2seq", vocab_size=16, num_layers=1, num_heads=4, width=8, cross_attention=False)
    )
    of_source, of_target = cross_exact.by_token(model, jax.random.key(0), 9, 7)
    assert np.all(of_source == 0.0)
    assert of_target.max() > 0.0


def cross_numbers(differ=0.0, within=1.0, written_out=1e-7, other=0.5, without=0.0, with_cross=0.1):
    bits = {}
    for name in ROWS:
        share = differ if cross_exact.is_outside(name) else within
        rows = {"differ_R": share, "written_out_R": written_out, "written_out_other_R": written_out, "other_R": other}
        bits[name] = {reading: np.full(2, x) for reading, x in rows.items()}
    blocks = {name: np.full((2, 3, 4), x) for name, x in (("with", with_cross), ("without", without))}
    return {"bits": bits, "source_blocks_RTS": blocks}


def test_cross_attention_words_follow_the_numbers():
    def found(**numbers):
        return words(cross_exact.judge(cross_numbers(**numbers)))

    outside = [name for name in ROWS if cross_exact.is_outside(name)]
    assert outside == ["none", "sinusoidal", "learned"]
    assert found() == [[EXACT] * 5, [EXACT]]
    assert found(differ=0.1)[0] == [COUNTER] * 3 + [EXACT] * 2
    assert found(written_out=0.1)[0] == [EXACT] * 3 + [COUNTER] * 2
    assert found(other=0.0)[0] == [UNDECIDED] * 5
    assert found(without=0.1)[1] == [COUNTER]
    assert found(with_cross=0.0)[1] == [UNDECIDED]
    assert drawn(cross_exact, cross_numbers())


def test_the_text_on_one_function_names_the_positions_whose_layers_differ():
    assert "rotary" in cross_exact.judge(cross_numbers())[0].instead.en
    assert cross_exact.judge(cross_numbers(within=0.0))[0].instead.en == "The function is one."


# scores


@pytest.fixture(scope="module")
def scored():
    return scores_exact.measure(TINY_SCORES)


def test_a_long_unrelated_key_wins_under_the_inner_product_and_not_under_the_cosine(scored):
    wins, other = scored["wins_MR"], scored["other_MR"]
    assert np.all(wins["dot"][1] > 0.3)
    assert np.array_equal(wins["cosine"][0], wins["cosine"][1])
    assert np.all(wins["dot"][0] < 0.1)
    assert np.all(other["dot"][0] == 0.0)
    assert np.all(other["dot"][1] > 0.3)
    assert np.all(other["cosine"] == 0.0)
    assert scores_exact.judge(scored)[0].words() == [EXACT, COUNTER]


def test_every_score_is_timed_once_in_every_round(scored):
    assert {len(by_length["4"]) for by_length in scored["ms"].values()} == {6}
    assert min(by_length["4"].min() for by_length in scored["ms"].values()) > 0.0
    assert drawn(scores_exact, scored)


def score_numbers(other=(0.0, 0.5), slow=9.0):
    rows = {
        reading: {name: np.outer(other, np.ones(2)) for name in scores_claims.CONTENT}
        for reading in ("wins_MR", "other_MR")
    }
    rounds = np.linspace(0.99, 1.01, 9)
    ms = {name: {"128": (slow if name == "additive" else 1.0) * rounds} for name in scores_claims.SCORES}
    return {"lengths": (1.0, 8.0), **rows, "timed": (128,), "ms": ms}


def test_score_words_follow_the_numbers():
    def found(**numbers):
        return words(scores_exact.judge(score_numbers(**numbers)))

    assert found() == [[EXACT, COUNTER], ["holds"]]
    assert found(other=(0.5, 0.5))[0] == [COUNTER, COUNTER]
    assert found(other=(0.0, 0.0))[0] == [UNDECIDED, UNDECIDED]
    assert found(slow=1.5)[1] == ["fails"]
    assert found(slow=2.0)[1] == ["undecided"]
    made = score_numbers()
    made["ms"] = {name: {"128": x["128"][:3]} for name, x in made["ms"].items()}
    assert scores_exact.judge(made)[1].words() == ["undecided"]
    case = scores_exact.judge(score_numbers())[1].cases[0]
    assert (case.name.en, case.at.en) == ("T = S = 128", "this implementation, this machine")


def test_the_interval_of_a_median_is_that_of_the_order_statistics():
    # P(Binomial(9, 1/2) <= 1) = 0.0195 < 0.025 <= P(Binomial(9, 1/2) <= 2) = 0.0898
    assert scores_claims.median_interval(range(9)) == (4.0, 1.0, 7.0)
    assert scores_claims.median_interval([1.0] * 5) == (1.0, -np.inf, np.inf)
