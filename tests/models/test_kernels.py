"""Logits and gradients do not depend on kernels, unroll and remat; a forward-mode derivative has plain alone."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import core_of, more
from tests.fixtures.tiny import TRANSFORMERS, batch, frozendict, tiny
from transformer.errors import UserError
from transformer.nn import stack
from transformer.nn.stack import REMATS

SETTINGS = {
    "encoder_only": {"position": "learned", "norm_placement": "post"},
    "decoder_only": {"position": "rotary", "norm": "rms", "window": 3},
    "seq2seq": {"position": "sinusoidal", "norm": "rms_plus_one"},
}


def gradient(architecture, **settings):
    """Compute the gradient of a mean of logits times random factors, and the logits."""
    own = tiny(architecture, **{**SETTINGS[architecture], **settings})

    @jax.jit
    def run(params):
        def loss(params):
            logits = own.model.apply(params, batch())["logits"].astype(jnp.float32)
            factors = np.random.default_rng(3).normal(size=logits.shape).astype(np.float32)
            return jnp.mean(logits * factors), logits

        return jax.grad(loss, has_aux=True)(params)

    gradients, logits = run(own.params)
    return gradients, logits


plain_gradient = functools.cache(gradient)


def farthest(found, expected):
    """Return the largest difference of two trees' arrays, relative to each one's largest entry.

    A bias of keys has no gradient but rounding, since softmax ignores it: it counts by the largest of all entries.
    """
    found, expected = jax.tree.map(lambda x: np.asarray(x, np.float64), (found, expected))
    largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))

    def far(x, y):
        size = np.abs(y).max()
        return np.abs(x - y).max() / (size if size > 1e-4 * largest else largest)

    return max(jax.tree.leaves(jax.tree.map(far, found, expected)))


@pytest.mark.parametrize("form", ["blocks", more("chunks")])
def test_a_mask_of_the_users_own_is_computed_in_parts(form):
    """A form cuts the mask's positions, here in packed rows, and calls its function for those of a part."""
    own = {"attention": frozendict(mask="examples.mask:every_second"), "position": "rotary"}
    found = gradient("decoder_only", kernels=form, **own)
    assert 0 < farthest(found, plain_gradient("decoder_only", **own)) < BOUNDS["float32"]


BOUNDS = {"float32": 1e-5, "bfloat16": 0.15}
"""Type -> largest difference; those seen are 4e-6, and 0.1 in a vector whose gradients all but cancel."""


@pytest.mark.parametrize("kernels", ["fast", more("fused")])
@pytest.mark.parametrize("dtype", ["float32", more("bfloat16")])
@pytest.mark.parametrize("architecture", core_of(TRANSFORMERS, lambda name: name != "encoder_only"))
def test_kernels_change_neither_logits_nor_gradients(architecture, dtype, kernels):
    found = gradient(architecture, dtype=dtype, kernels=kernels)
    difference = farthest(found, plain_gradient(architecture, dtype=dtype))
    print(difference)
    assert 0 < difference < BOUNDS[dtype]


@pytest.mark.parametrize("policy", core_of(REMATS, lambda policy: policy != "all_but_linear"))
@pytest.mark.parametrize("architecture", ["decoder_only", more("seq2seq")])
def test_layers_that_are_computed_again_have_the_same_gradient(architecture, policy):
    found = gradient(architecture, remat=True, remat_policy=policy)
    assert farthest(found, plain_gradient(architecture)) < 1e-5


def test_a_remat_policy_decides_which_products_are_computed_again():
    """The products of attention are between activations; those of projections have parameters."""

    def products(**settings):
        own = tiny("decoder_only", position="rotary", **settings)
        gradient = jax.grad(lambda params: jnp.sum(own.model.apply(params, batch())["logits"]))
        return str(jax.make_jaxpr(gradient)(own.params)).count("dot_general")

    none = products()
    counts = {policy: products(remat=True, remat_policy=policy) - none for policy in REMATS}
    assert counts["everything"] > counts["all_but_linear"] > counts["all_but_products"] == 0


def test_more_layers_than_are_unrolled_and_layers_that_are_computed_again_are_a_loop(monkeypatch):
    """XLA computes unrolled layers again before it needs them, so that no memory would be saved."""
    assert loops_of(tiny("decoder_only", unroll=True, num_layers=3, position="rotary")) == [(3, 3)]
    assert loops_of(tiny("decoder_only", unroll=True, num_layers=3, position="rotary", remat=True)) == [(3, 1)]
    monkeypatch.setattr(stack, "UNROLLED", 2)
    assert loops_of(tiny("decoder_only", unroll=True, num_layers=3, position="rotary")) == [(3, 1)]
    assert loops_of(tiny("decoder_only", unroll=True, num_layers=2, position="rotary")) == [(2, 2)]


def loops_of(own):
    """List the scans of a model: their lengths, and how many layers are one step."""
    program = str(jax.make_jaxpr(lambda params: own.model.apply(params, batch())["logits"])(own.params))
    found = zip(re.findall(r"\blength=(\d+)", program), re.findall(r"\bunroll=(\d+)", program), strict=True)
    return [(int(length), int(unroll)) for length, unroll in found]


@pytest.fixture(scope="module")
def directions():
    """A model's parameters, plain, and a direction of them."""
    params = tiny("decoder_only", position="rotary").params
    return params, jax.tree.map(lambda x: np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape), params)


def loss_of(kernels, compiled=False):
    own = tiny("decoder_only", position="rotary", kernels=kernels)
    apply = own.apply if compiled else own.model.apply
    return lambda params: jnp.mean(jnp.square(apply(params, batch())["logits"]))


@pytest.mark.parametrize("compiled", [False, more(True)])
def test_plain_has_a_forward_mode_derivative(directions, compiled):
    params, direction = directions
    value, slope = jax.jvp(loss_of("plain", compiled), (params,), (direction,))
    gradients = jax.grad(loss_of("plain", True))(params)
    expected = sum(jax.tree.leaves(jax.tree.map(np.vdot, gradients, direction)))
    np.testing.assert_allclose(slope, expected, rtol=1e-4)
    np.testing.assert_allclose(value, loss_of("plain", True)(params), rtol=1e-5)


@pytest.mark.parametrize("kernels", ["fast", more("fused")])
def test_other_kernels_have_none_and_the_error_names_plain(directions, kernels):
    loss = loss_of(kernels)
    says = r"no forward-mode derivative .*got model.kernels '\w+'; .*Build the model with kernels='plain'"
    with pytest.raises(UserError, match=says):
        jax.jvp(loss, *((x,) for x in directions))


def test_within_the_callers_program_the_error_is_that_of_jax(directions):
    """It comes when that program is compiled, where the model is no longer called."""
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jit(lambda *x: jax.jvp(loss_of("fast"), x[:1], x[1:]))(*directions)


def test_the_derivative_of_a_gradient_is_that_of_plain(directions):
    """The product with the Hessian: the gradient's own operations have a forward-mode derivative."""

    def product(kernels):
        return jax.jit(lambda *x: jax.jvp(jax.grad(loss_of(kernels, True)), x[:1], x[1:])[1])(*directions)

    assert farthest(product("fast"), product("plain")) < 1e-4
