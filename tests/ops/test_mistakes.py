"""Mistakes in the arguments of functions on arrays are errors in words, where JAX's own would come, or none."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from tests.fixtures.arrays import B, H, K, N, S, T, normal, query_key_value
from transformer.errors import UserError
from transformer.ops import masks
from transformer.ops.attend import attend, attention_weights
from transformer.ops.dropout import dropout
from transformer.ops.losses import cross_entropy
from transformer.ops.positions import rotary
from transformer.ops.scores import SCORES


@pytest.fixture
def unchecked():
    """Annotations are not checked, as in a user's process."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


FORM = {"kernels": "plain"}
"""The form of `attended`, which a test changes."""


def attended(query=None, key=None, **more):
    """Attend with some arguments changed."""
    own_query, own_key, _ = query_key_value()
    query, key = own_query if query is None else query, own_key if key is None else key
    return attend(query, key, key, **{**FORM, **more})


LENGTHS = np.array([3, 5])
MISTAKES = {
    "a list of queries": (lambda: attended([[1.0, 2.0]]), "query is not an array of floats; got a list, .*B T N H"),
    "integers as queries": (lambda: attended(jnp.ones((B, T, N, H), jnp.int32)), "query is not .*floats; got int32 of"),
    "queries without heads": (lambda: attended(normal(0, B, T, N * H)), "query has 3 axes.*expected axes B T N H"),
    "heads before lengths": (
        lambda: attended(normal(0, B, N, T, H), normal(1, B, K, S, H)),
        f"share key/value heads evenly; got N={T}, K={S}, of query .*B T N H and B S K H: length, then heads",
    ),
    "a mask of numbers": (lambda: attended(mask=jnp.zeros((T, S))), "booleans.*got float32 of shape .*are a bias"),
    "a mask of 0 and 1": (lambda: attended(mask=np.ones((T, S), int)), r"booleans.*got int64.*asarray\(mask, bool\)"),
    "a list as a mask": (lambda: attended(mask=[[True]]), "booleans.*got a list"),
    "a mask of keys alone": (
        lambda: attended(mask=jnp.ones((B, S), bool)),
        rf"the mask does not fit; got bool of shape \(1, 1, {B}, {S}\).*B N T S = .*mask\[:, None, :\]",
    ),
    "a mask of one axis": (lambda: attended(mask=jnp.ones(S, bool)), "axes T S, B T S or B N T S"),
    "a mask that is turned": (lambda: attended(mask=jnp.ones((S, T), bool)), "the mask does not fit"),
    "lengths of another batch": (lambda: attended(mask=masks.padding(jnp.ones(B + 1, int))), "the mask does not fit"),
    "a bias that does not fit": (lambda: attended(bias=normal(3, T, S + 1)), "the bias does not fit; got float32 of"),
    "a bias of booleans": (lambda: attended(bias=jnp.ones((T, S), bool)), "the bias does not fit.*expected floats"),
    "a score by another name": (lambda: attended(score="scaled-dot"), "Did you mean 'scaled_dot'"),
    "a score that is a number": (lambda: attended(score=3), "score 3 is an int; expected a function"),
    "lengths in a list": (lambda: masks.padding([3, 5]), "lengths_B of masks.padding is not an array of integers"),
    "lengths that are floats": (lambda: masks.padding(LENGTHS / 2), "not an array of integers; got float64"),
    "a mask of padding": (
        lambda: masks.padding(jnp.ones((B, S), bool)),
        r"not an array of integers; got bool of shape .* are masks.given\(keys_BS\[:, None, :\]\)",
    ),
    "a mask by its name": (
        lambda: attended(mask="causal"),
        r"got a str, 'causal'; expected booleans .*\. Write masks.causal\(\)",
    ),
    "a mask that is not called": (lambda: attended(mask=masks.causal), r"Write masks.causal\(\)"),
    "a mask without its lengths": (lambda: attended(mask=masks.padding), r"Write masks.padding\(...\) with its argum"),
    "a mask and a name": (lambda: masks.causal() & "padding", r"booleans.*Write masks.padding\(...\)"),
    "a mask and numbers": (lambda: np.ones((T, S)) & masks.causal(), "booleans.*got float64 of shape"),
    "a mask or a name": (lambda: masks.causal() | "padding", r"booleans.*Write masks.padding\(...\)"),
    "masks joined by and": (
        lambda: masks.causal() and masks.window(2),
        "a mask has no truth value; .*Join masks by &, ",
    ),
    "masks joined by or": (lambda: masks.causal() or masks.window(2), "a mask has no truth value"),
    "a mask after not": (lambda: not masks.causal(), "a mask has no truth value"),
    "masks in a list": (lambda: attended(mask=[masks.causal(), masks.window(2)]), r"got a list.*Join masks by &\.$"),
    "a mask function of one argument": (
        lambda: attended(mask=lambda query: query > 0),
        r"the mask function .*<lambda> takes other arguments; got \(query\); expected a function of \(query index, key",
    ),
    "a mask function of numbers": (
        lambda: attended(mask=lambda query, key: query - key),
        rf"the mask function .*<lambda> returned no booleans; got int32 of shape \(1, 1, {T}, {S}\); exp",
    ),
    "a mask function without a result": (
        lambda: attended(mask=masks.causal() & (lambda query, key: None)),
        "returned no booleans; got None; expected booleans that broadcast to B N T S",
    ),
    "a mask function of another shape": (
        lambda: attended(mask=~masks.where(lambda query, key: jnp.ones((T, S + 1), bool))),
        rf"returned another shape; got bool of shape \({T}, {S + 1}\); .*here with T = {T} and S = {S}",
    ),
    "a mask function of another batch": (
        lambda: attended(mask=lambda query, key: jnp.ones((B + 1, 1, T, S), bool)),
        rf"the mask does not fit; got bool of shape \({B + 1}, 1, {T}, {S}\)",
    ),
    "a mask function of single numbers": (
        lambda: attended(mask=lambda query, key: key > 1 and key <= query),
        "the mask function .* fails; got .*called with arrays of indices: write & | ~ and jnp.where in place of and",
    ),
    "a mask function that is none": (lambda: masks.where(3), "a mask function is needed; got an int, 3"),
    "parameters that a score has not": (
        lambda: attended(score="dot", parameters={"vector": jnp.ones((N, H))}, kernels="fast"),
        "score 'dot' has no parameters; got vector",
    ),
    "parameters of another score": (
        lambda: attended(score="cosine", parameters={"vector": jnp.ones((N, H))}),
        r"score 'cosine' needs parameters; got vector; expected scale \(N\)",
    ),
    "parameters without heads": (
        lambda: attended(score="additive", parameters={"vector": jnp.ones(H)}),
        "parameter 'vector' of score 'additive' has 1 axis; got shape .* axes N H",
    ),
    "parameters of another width": (
        lambda: attended(score="bilinear", parameters={"matrix": jnp.ones((N, H, H + 1))}),
        r"parameter 'matrix' of score 'bilinear' has another head width axis",
    ),
    "one length": (lambda: masks.padding(jnp.array(3)), "has 0 axes.*expected axes B"),
    "lengths of prefixes": (lambda: masks.prefix(jnp.ones((B, 1), int)), "lengths_B of masks.prefix has 2 axes"),
    "segments of floats": (
        lambda: masks.segments(jnp.ones((B, T))),
        "query_BT of masks.segments is not an array of integers",
    ),
    "segments of two batches": (
        lambda: masks.segments(jnp.ones((B, T), int), jnp.ones((B + 1, S), int)),
        "key_BS of masks.segments has another batch axis",
    ),
    "a window of a fraction": (lambda: masks.window(2.5), "size of masks.window is not a whole number; got a float"),
    "a window of a boolean": (lambda: masks.window(True), "size of .* is not a whole number; got a bool, True"),
    "a window of no token": (lambda: masks.window(np.int64(0)), "the query's own position; got 0; expected 1 or more"),
    "labels of floats": (lambda: cross_entropy(normal(0, B, T, 9), jnp.ones((B, T))), "labels are not .*integers"),
    "labels of one example": (lambda: cross_entropy(normal(0, B, T, 9), jnp.ones(T, int)), "labels do not fit"),
    "an odd width that is rotated": (lambda: rotary(normal(0, B, T, N, 5), jnp.arange(T)), "H = 5; expected even"),
    "a rate of dropout in percent": (
        lambda: dropout(normal(0, B), 10, jax.random.key(0)),
        "got 10; expected .*below 1",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kernels", ["plain", "fused"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_an_error_that_names_it(name, kernels, monkeypatch):
    """In each form: blocks and chunks cut masks and biases into parts, which would fit whatever the whole is."""
    monkeypatch.setitem(FORM, "kernels", kernels)
    call, says = MISTAKES[name]
    with pytest.raises(UserError, match=says):
        call()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [name for name, row in SCORES.items() if row.parameters])
def test_a_score_without_its_parameters_is_an_error_that_has_them(name):
    expected = ", ".join(f"{parameter} ({row.axes})" for parameter, row in SCORES[name].parameters.items())
    for parameters in (None, {}):
        with pytest.raises(UserError) as error:
            attended(score=name, parameters=parameters)
        assert str(error.value) == f"score {name!r} needs parameters; got none; expected {expected}"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("make", [jnp.asarray, np.asarray])
def test_booleans_and_a_mask_are_a_mask(make):
    booleans = np.asarray(normal(7, T, S)) > 0
    both = np.asarray(masks.causal().allowed(jnp.arange(T), S)) & booleans
    for mask in (masks.causal() & make(booleans), make(booleans) & masks.causal()):
        np.testing.assert_array_equal(mask.allowed(jnp.arange(T), S), both)
    keys = np.arange(S) < LENGTHS[:B, None]
    found = masks.given(make(keys)[:, None, :]).allowed(jnp.arange(T), S)
    np.testing.assert_array_equal(found, masks.padding(jnp.asarray(LENGTHS[:B])).allowed(jnp.arange(T), S))


@pytest.mark.parametrize("shape", [(T, S), (B, T, S), (B, N, T, S), (1, S), (B, 1, S), (B, 1, 1, S), (1, N, T, 1)])
def test_booleans_are_a_mask(shape):
    query, key, value = query_key_value()
    allowed = np.asarray(normal(7, *shape)) > 0
    full = np.broadcast_to(allowed[:, None] if allowed.ndim == 3 else allowed, (B, N, T, S))
    expected = attend(query, key, value, mask=masks.given(jnp.asarray(full)))
    for kernels in ("plain", "fast"):
        found = attend(query, key, value, mask=jnp.asarray(allowed), kernels=kernels)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    weights = attention_weights(query, key, mask=jnp.asarray(allowed))
    assert not np.asarray(weights)[~full].any()


def test_a_score_is_named_by_its_whole_path():
    assert SCORES["additive"].name == "transformer.ops.scores:additive"
