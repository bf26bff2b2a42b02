import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.arrays import B, G, H, K, N, S, T, check_gradients, normal, query_key_value, score_parameters
from tests.fixtures.speeds import more
from transformer.errors import UserError
from transformer.ops import masks
from transformer.ops.attend import attend, attention_weights
from transformer.ops.kernels import WAYS
from transformer.ops.scores import SCORES
from transformer.ops.softmax import masked_softmax

MASKS = {
    "everything": masks.everything(),
    "causal": masks.causal(),
    "window": masks.window(2),
    "padding": masks.padding(jnp.array([3, 5])),
    "segments": masks.segments(
        jnp.array([[1, 1, 2, 2, 3, 3, 0], [1, 2, 2, 2, 2, 2, 2]]), jnp.array([[1, 1, 2, 3, 0], [1, 1, 2, 2, 0]])
    ),
    "prefix": masks.prefix(jnp.array([2, 4])),
    "given_2": masks.given(jnp.array(np.asarray(normal(7, T, S)) > 0)),
    "given_3": masks.given(jnp.array(np.asarray(normal(8, B, T, S)) > 0)),
    "given_4": masks.given(jnp.array(np.asarray(normal(9, B, N, T, S)) > 0)),
    "nothing": masks.padding(jnp.array([0, 4])),
    "joined": masks.causal() & masks.padding(jnp.array([3, 5])) & masks.window(3),
}


softmax = jax.jit(masked_softmax)


def numpy_weights(scores, allowed):
    """Softmax over what is allowed, float64, one row at a time."""
    result = np.zeros(scores.shape)
    for row in np.ndindex(scores.shape[:-1]):
        sees = allowed[row]
        if sees.any():
            e = np.exp(scores[row][sees] - scores[row][sees].max())
            result[row][sees] = e / e.sum()
    return result


def numpy_attend(query, key, value, allowed):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    key, value = np.repeat(key, G, axis=2), np.repeat(value, G, axis=2)
    scores = np.einsum("BTNH,BSNH->BNTS", query, key) / np.sqrt(H)
    return np.einsum("BNTS,BSNH->BTNH", numpy_weights(scores, allowed), value)


def allowed_by(mask):
    allowed = mask.allowed(jnp.arange(T), S)
    return np.ones((B, N, T, S), bool) if allowed is None else np.broadcast_to(np.asarray(allowed), (B, N, T, S))


@given(
    st.integers(0, 999),
    st.sampled_from([(1, 1), (1, 7), (6, 1), (5, 4)]),  # each is compiled
    st.floats(0, 1),
    st.sampled_from([1.0, 30.0, 1e4]),
)
def test_masked_softmax_is_the_softmax_over_what_is_allowed(seed, sizes, share, scale):
    t_size, s_size = sizes
    random = np.random.default_rng(seed)
    scores = (random.normal(size=(1, 2, t_size, s_size)) * scale).astype(np.float32)
    allowed = random.random(scores.shape) < share
    weights = softmax(scores, allowed)
    np.testing.assert_allclose(weights, numpy_weights(scores.astype(np.float64), allowed), rtol=1e-5, atol=1e-6)
    assert not np.asarray(weights)[~allowed].any()


def test_what_is_masked_does_not_matter_even_if_it_is_infinite():
    scores, allowed = np.asarray(normal(0, B, N, T, S)), allowed_by(MASKS["padding"])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(masked_softmax(x, jnp.asarray(allowed)) ** 2)))
    for other in (np.inf, -np.inf, np.nan, 1e30):
        spoilt = np.where(allowed, scores, np.float32(other))
        np.testing.assert_array_equal(softmax(spoilt, allowed), softmax(scores, allowed))
        slopes = np.asarray(gradient(spoilt))
        assert np.isfinite(slopes).all()
        assert not slopes[~allowed].any()


@pytest.mark.parametrize("kernels", WAYS)
@pytest.mark.parametrize("name", MASKS)
def test_attend_is_its_equation_in_float64_under_every_mask(name, kernels):
    query, key, value = query_key_value()
    expected = numpy_attend(query, key, value, allowed_by(MASKS[name]))
    mixed = attend(query, key, value, mask=MASKS[name], kernels=kernels)
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("score", [more("dot"), "scaled_dot"])
@pytest.mark.parametrize("name", MASKS)
def test_fast_kernels_have_the_gradients_of_the_plain_ones(name, score):
    def slopes(kernels, arrays, weight):
        def loss(arrays):
            return jnp.sum(weight * attend(*arrays, mask=MASKS[name], score=score, kernels=kernels))

        return jax.value_and_grad(loss)(arrays)

    both = jax.jit(lambda *inputs: (slopes("fast", *inputs), slopes("plain", *inputs)))
    fast, plain = both(query_key_value(), normal(5, B, T, N, H))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), fast, plain)


@pytest.mark.parametrize("kernels", WAYS)
def test_a_bias_is_added_to_the_scores(kernels):
    query, key, value = query_key_value()
    for shape in [(T, S), (N, T, S), (B, N, T, S), (B, 1, 1, S)]:
        bias = normal(11, *shape)
        weights = np.asarray(attention_weights(query, key, bias=bias, mask=masks.causal()))
        e = np.exp(np.einsum("BTNH,BSNH->BNTS", query, np.repeat(key, G, 2)) / np.sqrt(H) + np.asarray(bias))
        e = e * np.tri(T, S)
        np.testing.assert_allclose(weights, e / e.sum(-1, keepdims=True), rtol=1e-4, atol=1e-6)
        mixed = np.einsum("BNTS,BSNH->BTNH", weights, np.repeat(value, G, 2))
        attended = attend(query, key, value, bias=bias, mask=masks.causal(), kernels=kernels)
        np.testing.assert_allclose(attended, mixed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernels", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_query_that_may_see_nothing_gets_exactly_zero_and_gives_exactly_zero_gradient(dtype, kernels):
    mask = masks.padding(jnp.array([0, 4])) & masks.given(jnp.array(np.arange(T)[:, None] != np.full((T, S), 2)))

    def loss(arrays):
        mixed = attend(*arrays, mask=mask, kernels=kernels)
        return jnp.sum(mixed.astype(jnp.float32) ** 2 + 1.0), mixed

    inputs = tuple(np.asarray(x).astype(dtype) for x in query_key_value())
    found = jax.jit(jax.grad(loss, has_aux=True))(inputs)
    assert all(x.dtype == dtype for x in jax.tree.leaves(found))
    slopes, mixed = jax.tree.map(lambda x: np.asarray(x, np.float32), found)
    assert not mixed[0].any()
    assert not mixed[1, 2].any()
    assert mixed[1, [0, 1, 3]].all()
    for slope in slopes:
        assert np.isfinite(slope).all()
        assert not slope[0].any()
        assert slope[1].any()
    assert not slopes[0][1, 2].any()


@pytest.mark.parametrize("kernels", WAYS)
def test_nothing_to_see_at_all_is_zero(kernels):
    query, key, value = query_key_value()
    mixed = attend(query, key, value, mask=masks.padding(jnp.array([0, 0])), kernels=kernels)
    np.testing.assert_array_equal(mixed, np.zeros((B, T, N, H)))


@pytest.mark.parametrize("name", SCORES)
def test_fast_is_another_program_only_where_the_score_is_a_dot_product_and_fused_for_every_score(name):
    query, key, value = query_key_value()

    def program(kernels):
        def run(query, key, value, parameters):
            return attend(query, key, value, score=name, parameters=parameters, kernels=kernels)

        return str(jax.make_jaxpr(run)(query, key, value, score_parameters(name)))

    same = program("fast") == program("plain")
    assert same == (SCORES[name].dot_scale is None)
    assert program("fused") != program("plain")
    assert (program("fused") == program("fast")) == (not same)


def test_twelve_heads_of_64_are_the_concatenation_of_each_head_alone():
    inputs = [np.asarray(normal(i, B, size, 12, 64)) for i, size in enumerate((T, S, S))]
    mixed = jax.jit(lambda *arrays: attend(*arrays, mask=masks.causal()))
    alone = [np.asarray(mixed(*(x[:, :, n : n + 1] for x in inputs)))[:, :, 0] for n in range(12)]
    together = np.asarray(mixed(*inputs)).reshape(B, T, 768)
    np.testing.assert_allclose(together, np.concatenate(alone, axis=-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_gradients_are_those_of_finite_differences(score):
    query, key, value = query_key_value(heads=2, kv_heads=1)

    def run(query, key, value, parameters):
        return attend(query, key, value, mask=MASKS["joined"], score=score, parameters=parameters)

    check_gradients(run, query, key, value, score_parameters(score, 2))


def test_queries_may_stand_anywhere():
    query, key, value = map(np.asarray, query_key_value())
    mixed = jax.jit(lambda *arrays, index=None: attend(*arrays, mask=masks.causal(), query_index=index))
    whole = np.asarray(mixed(query, key, value))
    part = mixed(query[:, 2:4], key, value, index=np.array([2, 3]))
    np.testing.assert_allclose(part, whole[:, 2:4], rtol=1e-5, atol=1e-6)
    rows = np.stack([query[0, 1:2], query[1, 3:4]])
    apart = np.asarray(mixed(rows, key, value, index=np.array([[1], [3]])))
    np.testing.assert_allclose(apart[:, 0], np.stack([whole[0, 1], whole[1, 3]]), rtol=1e-5, atol=1e-6)


def test_dropout_falls_on_the_weights():
    query, key, _ = query_key_value(kv_heads=K)
    identity = np.broadcast_to(np.eye(S, H, dtype=np.float32)[None, :, None], (B, S, K, H))
    weights = attention_weights(query, key)
    kept = jax.jit(attend)(query, key, identity, dropout=jnp.array(0.5), key=jax.random.key(1))
    kept = np.moveaxis(np.asarray(kept)[..., :S], 1, 2)
    dropped = kept == 0
    assert 0.3 < dropped.mean() < 0.7
    np.testing.assert_allclose(kept[~dropped], 2 * np.asarray(weights)[~dropped], rtol=1e-5)


@pytest.mark.parametrize("kernels", WAYS)
@pytest.mark.parametrize(
    ("heads", "key_shape", "value_shape", "says"),
    [
        (N, (B, S, 5, H), (B, S, 5, H), "share key/value heads evenly.*N=12, K=5"),
        (N, (B, S, K, H + 2), (B, S, K, H + 2), "key has another head width axis"),
        (N, (B + 1, S, K, H), (B + 1, S, K, H), "key has another batch axis"),
        (N, (B, S, K, H), (B, S + 1, K, H), "value has another key position axis"),
    ],
)
def test_arrays_that_do_not_fit_name_the_axis(heads, key_shape, value_shape, says, kernels):
    unchecked = attend.__wrapped__  # the annotations, checked in the tests, would refuse these first
    with pytest.raises(UserError, match=says):
        unchecked(normal(0, B, T, heads, H), normal(1, *key_shape), normal(2, *value_shape), kernels=kernels)


def test_unknown_kernels_are_refused():
    with pytest.raises(UserError, match="plain or fast or fused"):
        attend(*query_key_value(), kernels="quick")
