"""Soft cap, sink, the user's own function and the difference of two maps, against their equations in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import B, G, H, K, N, S, T, check_gradients, normal, query_key_value
from tests.ops.test_attend import MASKS, allowed_by, numpy_weights
from transformer import build
from transformer.errors import UserError
from transformer.models.config import AttentionConfig
from transformer.nn.user_functions import OwnRule, user_allowed
from transformer.ops import masks
from transformer.ops.attend import attend, attention_weights
from transformer.ops.differential import first_lambda, learned_lambda
from transformer.ops.modifiers import Modifiers
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scoring import raw_scores
from transformer.ops.softmax import masked_softmax


def numpy_scores(query, key):
    key = np.repeat(np.asarray(key, np.float64), G, axis=2)
    return np.einsum("BTNH,BSNH->BNTS", np.asarray(query, np.float64), key) / np.sqrt(query.shape[-1])


def nearer(scores_BNTS, query_positions, key_positions):
    """A modifier of somebody's own."""
    return scores_BNTS - 0.3 * jnp.abs(query_positions - key_positions)


def of_another_shape(scores_BNTS, query_positions, key_positions):
    return scores_BNTS[..., :1]


def every_third(query_positions, key_positions):
    """A mask of somebody's own."""
    return (query_positions - key_positions) % 3 == 0


def earlier(scores_BNTS, query_positions, key_positions):
    return jnp.where(key_positions < query_positions, scores_BNTS, -jnp.inf)


def nothing(*_):
    """A function whose author forgot the `return`."""


def of_other_heads(query_positions, key_positions):
    return jnp.broadcast_to(query_positions >= key_positions, (1, 2, T, S))


def as_numbers(query_positions, key_positions):
    return query_positions - key_positions


def of_one_axis(query_positions, key_positions):
    return key_positions[0, 0, 0] > 1


def shuffled(query_positions, key_positions):
    return jnp.swapaxes(query_positions > key_positions, 2, 3)


not_a_function = 3


@pytest.mark.parametrize("name", MASKS)
def test_a_soft_cap_a_bias_a_function_and_a_sink_come_in_this_order(name):
    query, key, value = query_key_value()
    bias, sink = normal(3, N, T, S), normal(4, N)
    scores = 2.0 * np.tanh(numpy_scores(query * 3, key) / 2.0) + np.asarray(bias)
    scores = scores - 0.3 * np.abs(np.arange(T)[:, None] - np.arange(S))
    # A sink is one more key, which every query sees and whose value is zero.
    scores = np.concatenate([scores, np.broadcast_to(np.asarray(sink)[:, None, None], (B, N, T, 1))], axis=-1)
    allowed = np.concatenate([allowed_by(MASKS[name]), np.ones((B, N, T, 1), bool)], axis=-1)
    expected = numpy_weights(scores, allowed)[..., :S]
    modifiers = Modifiers(2.0, nearer, sink)
    weights = attention_weights(query * 3, key, mask=MASKS[name], bias=bias, modifiers=modifiers)
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)
    for kernels in ("plain", "fast", "fused"):
        mixed = attend(query * 3, key, value, mask=MASKS[name], bias=bias, modifiers=modifiers, kernels=kernels)
        heads = np.einsum("BNTS,BSNH->BTNH", expected, np.repeat(value, G, 2))
        np.testing.assert_allclose(mixed, heads, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MASKS)
def test_differential_weights_are_the_difference_of_the_softmaxes_of_the_halves(name):
    query, key, _ = query_key_value()
    allowed, half, subtract = allowed_by(MASKS[name]), H // 2, jnp.array(0.3)
    first, second = (numpy_scores(query[..., part], key[..., part]) for part in (np.s_[:half], np.s_[half:]))
    expected = numpy_weights(first, allowed) - 0.3 * numpy_weights(second, allowed)
    weights = attention_weights(query, key, mask=MASKS[name], modifiers=Modifiers(subtract=subtract))
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)
    maps = raw_scores(query, key, differential=True)
    np.testing.assert_allclose(maps, np.concatenate([first, second], axis=1), rtol=1e-4, atol=1e-5)


def test_each_modifier_alone_is_the_plain_program_in_fast_and_another_one_in_fused_but_a_difference():
    query, key, value = query_key_value()
    each = (
        Modifiers(1.0),
        Modifiers(function=nearer),
        Modifiers(sink_N=normal(4, N)),
        Modifiers(subtract=jnp.ones(())),
    )

    def program(kernels, modifiers):
        return str(jax.make_jaxpr(functools.partial(attend, modifiers=modifiers, kernels=kernels))(query, key, value))

    programs = [program("fast", modifiers) for modifiers in each]
    assert programs == [program("plain", modifiers) for modifiers in each]
    assert len(set(programs)) == 4
    assert program("fast", Modifiers()) != program("plain", Modifiers())
    assert not {program("fused", modifiers) for modifiers in each[:3]} & set(programs)
    with pytest.raises(UserError, match="chunks: the weights are a difference of maps"):
        program("fused", each[3])


def test_weights_with_a_sink_sum_to_less_than_one_and_a_huge_sink_takes_all():
    scores, allowed = normal(0, B, N, T, S), jnp.array(allowed_by(MASKS["padding"]))
    for sink, low, high in ((0.0, 0.3, 0.99), (-1e4, 1 - 1e-6, 1 + 1e-6), (1e4, 0.0, 1e-9)):
        total = np.sum(masked_softmax(scores, allowed, jnp.full(N, sink)), axis=-1)
        assert (total >= low).all()
        assert (total <= high).all()
    slopes = jax.grad(lambda s: jnp.sum(masked_softmax(scores, allowed, s) ** 2))(normal(1, N))
    assert np.abs(slopes).min() > 0


def test_gradients_through_all_modifiers_are_those_of_finite_differences():
    query, key, value = query_key_value(heads=2, kv_heads=1)

    def run(query, key, value, sink, subtract):
        modifiers = Modifiers(2.0, nearer, sink, subtract)
        return attend(query, key, value, mask=MASKS["joined"], modifiers=modifiers)

    check_gradients(run, query, key, value, normal(1, 2), jnp.array(0.4))


def test_lambda_starts_where_the_paper_says_and_follows_its_vectors():
    np.testing.assert_allclose(
        [first_lambda(i) for i in range(3)], [0.2, 0.8 - 0.6 * np.exp(-0.3), 0.8 - 0.6 * np.exp(-0.6)], 1e-6
    )
    query, key = np.asarray(normal(0, 6)), np.asarray(normal(1, 6))
    expected = np.exp(query[:3] @ key[:3]) - np.exp(query[3:] @ key[3:]) + 0.2
    np.testing.assert_allclose(learned_lambda(jnp.array(query), jnp.array(key), 0), expected, rtol=1e-5)


def test_the_users_function_sees_the_places_that_it_is_told():
    query, key, _ = query_key_value()
    positions = QueryKeyPositions(jnp.array([[3], [6]]), jnp.array([[0, 1, 2, 0, 1], [4, 3, 2, 1, 0]]))
    weights = attention_weights(query[:, :1], key, modifiers=Modifiers(function=nearer), positions=positions)
    distance = np.abs(np.asarray(positions.query)[:, :, None] - np.asarray(positions.key)[:, None])
    scores = numpy_scores(query[:, :1], key) - 0.3 * distance[:, None]
    np.testing.assert_allclose(weights, numpy_weights(scores, np.ones(scores.shape, bool)), rtol=1e-4, atol=1e-6)
    at = attention_weights(query[:, 4:5], key, modifiers=Modifiers(function=nearer), query_index=jnp.array([4]))
    whole = attention_weights(query, key, modifiers=Modifiers(function=nearer))
    np.testing.assert_allclose(at, whole[:, :, 4:5], rtol=1e-5)


def test_a_mask_of_the_users_own_is_its_function_of_the_positions():
    allowed = user_allowed(
        AttentionConfig(mask=f"{HERE}:every_third"), QueryKeyPositions(jnp.arange(T), jnp.arange(S)), N
    )
    np.testing.assert_array_equal(allowed[0, 0], (np.arange(T)[:, None] - np.arange(S)) % 3 == 0)
    rule = OwnRule(jnp.arange(T), jnp.arange(S), AttentionConfig(mask=f"{HERE}:every_third"), N)
    np.testing.assert_array_equal(rule.part(2, 3, 1, 2)(jnp.array(0), jnp.array(0)), allowed[:, :, 2:5, 1:3])


HERE = "tests.ops.test_modifiers"


@pytest.mark.parametrize("setting", ["score_modifier", "mask"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no.such.module:f", "cannot be imported"),
        (f"{HERE}:no_such_function", "cannot be imported"),
        (f"{HERE}:not_a_function", "is an int; expected a function of .*positions"),
        ("nearer", "got 'nearer'; expected package.module:attribute, a function of .*key_positions"),
    ],
)
def test_a_function_that_cannot_be_found_says_why(setting, name, says):
    with pytest.raises(UserError, match=rf"model.attention.{setting}.*{says}"):
        build(architecture="decoder_only", vocab_size=5, attention={setting: name})


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("as_numbers", r"int32 of shape \(1, 1, 7, 5\)"),
        ("of_one_axis", "bool of shape"),
        ("shuffled", r"5, 7"),
        ("of_other_heads", r"2, 7, 5"),
        ("nothing", "None"),
    ],
)
def test_a_mask_that_gives_something_else_is_named(name, got):
    with pytest.raises(UserError, match=rf"{name}.*gave something else; got .*{got}.*expected bool.*B N T S"):
        user_allowed(AttentionConfig(mask=f"{HERE}:{name}"), QueryKeyPositions(jnp.arange(T), jnp.arange(S)), N)


def test_a_modifier_that_gives_another_shape_is_named():
    query, key, _ = query_key_value()
    with pytest.raises(
        UserError,
        match=rf"of_another_shape.*gave something else.*expected floats of shape B N T S = \({B}, {N}, {T}, {S}\)",
    ):
        attention_weights(query, key, modifiers=Modifiers(function=of_another_shape))
    assert K * G == N


def test_a_modifier_that_gives_nothing_is_named():
    query, key, _ = query_key_value()
    with pytest.raises(UserError, match=r"nothing.*gave something else; got None"):
        attention_weights(query, key, modifiers=Modifiers(function=nothing))


@pytest.mark.parametrize("mask", [None, masks.causal()])
def test_a_modifier_that_leaves_a_query_nothing_gives_zero_and_no_nan(mask):
    query, key, value = query_key_value()

    def output(query, key, value):
        return attend(query, key, value, mask=mask, modifiers=Modifiers(function=earlier))

    mixed, slopes = output(query, key, value), jax.grad(lambda *x: output(*x).sum(), (0, 1, 2))(query, key, value)
    assert np.all(np.asarray(mixed[:, 0]) == 0.0)
    assert np.all(np.asarray(slopes[0][:, 0]) == 0.0)
    assert all(np.all(np.isfinite(x)) for x in (mixed, *slopes))
    assert np.any(np.asarray(mixed[:, 1]) != 0.0)
