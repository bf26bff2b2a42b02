"""Studies without training: numbers have the properties that are known of them, and verdicts follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.studies import dependence, padding, permutation, scaling, scores, sinusoids
from tests.fixtures.speeds import more

TINY_SINUSOIDS = sinusoids.SinusoidsSettings(length=33, width=(6, 10))


@pytest.fixture(scope="module")
def permuted():
    return permutation.measure(permutation.PermutationSettings(length=5, width=8))


@pytest.fixture(scope="module")
def padded():
    return padding.measure(padding.PaddingSettings(length=5, padding=2, width=3))


@pytest.fixture(scope="module")
def depending():
    return dependence.measure(dependence.DependenceSettings(target_length=3, source_length=5, width=4))


def test_the_variance_of_the_inner_product_is_the_width():
    settings = scaling.ScalingSettings(width=(4, 36), queries=400, keys=200, train_width=())
    numbers = scaling.measure(settings)
    np.testing.assert_allclose(numbers["dot"]["variance_HR"].mean(1), (4, 36), rtol=0.1)
    np.testing.assert_allclose(numbers["scaled_dot"]["variance_HR"].mean(1), 1.0, rtol=0.1)
    assert np.all(numbers["dot"]["entropy_HR"][1] < numbers["dot"]["entropy_HR"][0])
    made = scaling.judge(numbers)
    assert made[0].verdict == "holds"
    assert len(made) == 2


def test_the_size_of_the_gradient_is_that_of_the_jacobian():
    found = scaling.statistics(jax.random.key(3), "dot", 1, 5, 7)
    q, k = (
        jax.random.normal(jax.random.split(jax.random.key(3))[0], (7,)),
        jax.random.normal(jax.random.split(jax.random.key(3))[1], (1, 5, 1, 7))[0, :, 0],
    )
    jacobian = jax.jacobian(jax.nn.softmax)(k @ q)
    np.testing.assert_allclose(found["gradient_HR"], jnp.linalg.norm(jacobian), rtol=1e-4)


def scaling_numbers(variance=(16.0, 64.0), scaled=(1.0, 1.0), gradient=(0.05, 0.05), with_scale=(0.2, 0.2), loss=None):
    def row(x):
        return np.outer(x, (0.999, 1.0, 1.001))

    made = {"width": (16, 64), "keys": 8, "train_width": (16, 64)}
    made["dot"] = {"variance_HR": row(variance), "gradient_HR": row((0.5, 0.5)), "entropy_HR": row((1, 1))}
    made["scaled_dot"] = {"variance_HR": row(scaled), "gradient_HR": row((0.5, 0.5)), "entropy_HR": row((1, 1))}
    made["dot"]["median_gradient_HR"], made["scaled_dot"]["median_gradient_HR"] = row(gradient), row(with_scale)
    if loss is not None:
        made["trained"] = {"dot": {"loss_HR": row(loss)}, "scaled_dot": {"loss_HR": row((2.0, 2.0))}}
    return made


def test_scaling_verdicts_follow_the_numbers():
    def verdict(i, **numbers):
        return scaling.judge(scaling_numbers(**numbers))[i].verdict

    assert verdict(0) == "holds"
    assert verdict(0, variance=(32.0, 128.0)) == "shape only"
    assert verdict(0, variance=(16.0, 16.0)) == "differs"
    assert verdict(1) == "holds"
    assert verdict(1, gradient=(0.15, 0.05)) == "holds if H is 64"
    assert verdict(1, gradient=(0.15, 0.15)) == "differs"
    assert verdict(2, loss=(2.5, 2.5)) == "holds"
    assert verdict(2, loss=(1.9, 2.5)) == "holds if H is 64"
    assert verdict(2, loss=(1.9, 1.9)) == "differs"


@pytest.mark.more
def test_self_attention_is_equivariant_and_not_invariant(permuted):
    assert permuted["self"]["moved_R"].max() < 1e-5
    assert permuted["self"]["same_R"].min() > 0.05
    assert permuted["self"]["pooled_R"].max() < 1e-5


@pytest.mark.more
def test_a_mask_or_positions_break_it_and_cross_attention_reads_a_set(permuted):
    for case in ("causal", "self, sinusoidal", "self, rotary"):
        assert permuted[case]["moved_R"].min() > 0.01
    assert permuted["source of cross"]["same_R"].max() < 1e-5
    assert permuted["source of cross, sinusoidal"]["same_R"].min() > 1e-3
    assert permuted["causal, one layer"]["last_R"].max() < 1e-5
    assert permuted["causal"]["last_R"].min() > 1e-3


def shuffled():
    """Numbers as the mathematics has them: rounding where nothing changes, and a tenth where something does."""
    nothing, something = np.full(3, 1e-7), np.full(3, 0.1)
    made = {case: dict.fromkeys(permutation.READINGS, something) for case in permutation.CASES}
    made["self"] |= {"moved_R": nothing, "pooled_R": nothing, "last_R": nothing}
    made["source of cross"] = dict.fromkeys(permutation.READINGS, nothing)
    made["causal, one layer"] |= {"last_R": nothing}
    return made


@pytest.mark.parametrize("measured", [False, more(True)])
def test_permutation_verdicts_follow_the_numbers(measured, request):
    permuted = request.getfixturevalue("permuted") if measured else shuffled()
    same, moved, source, causal = (c.verdict for c in permutation.judge(permuted))
    assert same == "holds if the mean of the positions is read"
    assert moved == "holds if there are neither positions nor a causal mask"
    assert (source, causal) == ("holds if the source has no positions", "holds if it has one layer")
    zero = {case: {name: x * 0.0 for name, x in row.items()} for case, row in permuted.items()}
    assert [c.verdict for c in permutation.judge(zero)] == ["holds"] * 4
    one = {case: {name: x * 0.0 + 1.0 for name, x in row.items()} for case, row in permuted.items()}
    assert [c.verdict for c in permutation.judge(one)] == ["differs"] * 4


def test_codes_are_unique_bounded_and_alike_by_distance():
    numbers = sinusoids.measure(TINY_SINUSOIDS)
    for row in numbers["rows"].values():
        assert row["nearest"] > 0.1
        assert row["largest"] <= 1.0 + 1e-6
        assert row["change"] < 1e-5
        assert row["similarity_T"][0] == pytest.approx(1.0, abs=1e-6)
    assert [c.verdict for c in sinusoids.judge(numbers)][:2] == ["holds", "holds"]


def test_sinusoid_verdicts_follow_the_numbers():
    numbers = sinusoids.measure(TINY_SINUSOIDS)
    rows = {w: dict(row) for w, row in numbers["rows"].items()}
    rows[6] |= {"nearest": 0.0, "change": 0.5, "similarity_T": np.linspace(1.0, 0.5, 33)}
    rows[10] |= {"similarity_T": np.linspace(1.0, 0.4, 33)}
    assert [c.verdict for c in sinusoids.judge({**numbers, "rows": rows})] == ["holds if D is 10", "differs", "holds"]
    rows[10] |= {"similarity_T": np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.7, *[0.5] * 27])}
    assert sinusoids.judge({**numbers, "rows": rows})[2].verdict == "holds if the distance is below 5"
    rows[10] |= {"similarity_T": np.array([1.0, 1.1, *[0.5] * 31])}
    assert sinusoids.judge({**numbers, "rows": rows})[2].verdict == "differs"


def test_codes_that_repeat_have_distance_zero():
    assert sinusoids.nearest(np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])) == 0.0


def test_embeddings_of_minus_infinity_give_nan_and_the_mask_here_is_right(padded):
    ways = padded["ways"]
    assert np.all(ways["embeddings of -∞"]["nan"][:, padding.PADDED] == 1.0)
    for reading in ways["the mask here"].values():
        assert np.all(reading <= 1e-5)
    assert np.all(ways["embeddings of 0"]["weight"][:, padding.PADDED] > 0.01)
    assert np.all(ways["scores of 0"]["leak"][:, padding.PADDED] > 1e-3)
    assert np.all(ways["scores of -1e9"]["error"][:, padding.EMPTY] > 1e-2)
    assert np.all(ways["scores of -∞"]["nan"][:, padding.EMPTY] == 1.0)
    for way in ("scores of -1e9", "scores of -∞"):
        assert padding.as_alone(ways[way], padding.PADDED)
    for way in ways.values():  # without padding every way is the same, but for the product with an empty mask
        assert np.all(way["error"][:, padding.FULL] < 1e-5)


def test_padding_verdicts_follow_the_numbers(padded):
    verdicts = [c.verdict for c in padding.judge(padded)]
    conditional = "holds if some row is no padding"
    assert verdicts == ["differs", "differs", "differs", conditional, conditional, "holds"]
    swapped = {**padded, "ways": {**padded["ways"], "the mask here": padded["ways"]["scores of 0"]}}
    assert padding.judge(swapped)[-1].verdict == "differs"


def test_the_masks_that_are_drawn_show_the_keys_that_are_visible(padded):
    drawn = padded["masks"]
    assert np.array_equal(drawn["decoder self: causal"], np.tril(np.ones((5, 5), int)))
    assert np.array_equal(drawn["encoder self: padding"][2], [1, 1, 1, 0, 0])
    both = drawn["decoder self: causal"] * drawn["encoder self: padding"]
    assert np.array_equal(drawn["decoder self: causal & padding"], both)


def test_a_long_unrelated_key_wins_under_the_inner_product_and_not_under_the_cosine():
    settings = scores.ScoresSettings(lengths=(1.0, 30.0), head_width=8, keys=3, draws=64, rounds=1, steps=0)
    keys = jax.vmap(jax.random.key)(jnp.arange(3))

    def share(name, length):
        return np.asarray(jax.vmap(lambda key: scores.long_key_wins(key, scores.SCORES[name], length, settings))(keys))

    wins = {(name, m): share(name, m) for name in ("dot", "cosine") for m in settings.lengths}
    assert np.all(wins["dot", 30.0] > 0.3)
    assert np.all(wins["cosine", 30.0] == wins["cosine", 1.0])
    assert np.all(wins["dot", 1.0] < 0.1)


def score_numbers(win=(0.0, 0.5), additive=9.0, more=0.0):
    seeds = np.array([0.999, 1.0, 1.001])
    losses = {name: (2.0 + more * (name != "scaled dot")) * seeds for name in scores.SCORES}
    ms = {name: np.array([1.0, 1.01, 0.99]) * (additive if name == "additive" else 1.0) for name in scores.SCORES}
    return {"lengths": (1.0, 8.0), "wins_MR": {name: np.outer(win, seeds) for name in scores.CONTENT}, "ms": ms} | {
        "loss_R": losses
    }


def test_score_verdicts_follow_the_numbers():
    def found(**numbers):
        return [c.verdict for c in scores.judge(score_numbers(**numbers))]

    assert found() == ["holds if an unrelated key is no longer than the related one", "holds", "differs", "differs"]
    assert found(win=(0.0, 0.0))[0] == "holds"
    assert found(win=(0.5, 0.5))[0] == "differs"
    assert found(additive=1.0)[1] == "differs"
    assert found(more=0.5)[2:] == ["holds", "holds"]


def test_blocks_are_zero_where_nothing_is_visible(depending):
    found = depending["blocks_RTS"]
    assert found["cross, source X"].shape == (3, 3, 5)
    off = ~np.eye(3, dtype=bool)
    assert np.all(found["cross, target X'"][:, off] == 0.0)
    assert np.all(found["cross, target X'"][:, ~off] > 0.0)
    assert np.all(found["causal"][:, np.triu(np.ones((5, 5), bool), 1)] == 0.0)
    assert np.all(found["self"] > 0.0)


def test_dependence_verdicts_follow_the_numbers(depending):
    verdicts = [c.verdict for c in dependence.judge(depending)]
    assert verdicts == ["holds if nothing is masked", "holds if the input is in the source X", "holds"]
    blind = {**depending["blocks_RTS"], "RNN, source": 0.0 * depending["blocks_RTS"]["RNN, source"] + np.eye(3, 5)}
    assert dependence.judge({"blocks_RTS": blind})[2].verdict == "holds if the input is what it has read"
    ones = {"blocks_RTS": {name: np.ones_like(x) for name, x in depending["blocks_RTS"].items()}}
    assert all(c.verdict == "holds" for c in dependence.judge(ones))
    holes = {"blocks_RTS": {name: np.tril(x) * (x.shape[-1] > 0) for name, x in depending["blocks_RTS"].items()}}
    assert [c.verdict for c in dependence.judge(holes)][:2] == ["differs", "differs"]


@pytest.mark.more
def test_the_recurrent_decoder_depends_on_the_source_through_its_first_state_alone():
    """So it depends less on it with every step; with attention it would depend as much in each."""
    of_source = dependence.recurrent(jax.random.key(0), 8, 4, 8)["RNN, source"]
    assert of_source[-1].mean() < 0.2 * of_source[0].mean()


@pytest.mark.more
def test_dependence_on_tokens_is_that_on_their_embeddings():
    model = transformer.build(dict(architecture="decoder_only", vocab_size=8, width=4, num_heads=1, num_layers=1))
    of_source, of_target = dependence.by_token(model, jax.random.key(0), 3, 5)
    assert np.all(of_source == 0.0)
    assert np.all(np.triu(of_target, 1) == 0.0)
    assert np.all(of_target[np.tril_indices(3)] > 0.0)
