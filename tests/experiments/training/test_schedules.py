"""Schedules of the learning rate: each is its formula, of arguments that may be traced."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.schedules import SCHEDULES, learning_rate

STEPS = 100
AFTER = np.arange(10, 120)  # warm-up ends at 10
PROGRESS = np.clip((AFTER - 10) / 90, 0, 1)
EXPECTED = {
    "constant": np.ones(110),
    "linear": 1 - 0.9 * PROGRESS,
    "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * PROGRESS)) / 2,
    "inverse_sqrt": np.sqrt(11 / (AFTER + 1)),
    "wsd": 0.1 + 0.9 * (1 - np.sqrt(np.clip((AFTER - 75) / 25, 0, 1))),
}
"""Name of a schedule -> rate / peak from step 10 on."""


def rate_at(name, step, peak, warmup, final=0.1, decay_fraction=0.25):
    return learning_rate(
        SCHEDULES[name].function,
        step,
        peak=peak,
        warmup_steps=warmup,
        steps=STEPS,
        final=final,
        decay_fraction=decay_fraction,
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_then_follow_their_formula_with_traced_arguments(name):
    at = jax.jit(jax.vmap(functools.partial(rate_at, name), in_axes=(0, *[None] * 4)))
    rates = at(jnp.arange(120), 2.0, 10.0, 0.1, 0.25)
    np.testing.assert_allclose(rates[:10], 2.0 * np.arange(1, 11) / 11, rtol=1e-6)
    assert float(rates[10]) == pytest.approx(2.0)
    np.testing.assert_allclose(rates[10:], 2.0 * EXPECTED[name], rtol=1e-5)
    assert np.all(np.diff(rates[10:]) <= 1e-6)
    at_once = at(jnp.arange(120), 2.0, 0.0, 0.1, 0.0)
    assert float(at_once[0]) == pytest.approx(2.0)
    assert np.all(np.isfinite(at_once))


def test_inverse_sqrt_is_that_of_vaswani_et_al():
    """D^-0.5 min(n^-0.5, n warmup^-1.5), with n and the warm-up one larger than here; of any warm-up, none included."""
    for warmup in (0, 7):
        n = np.arange(1, 40)
        paper = np.minimum(n**-0.5, n * (warmup + 1) ** -1.5)
        rates = rate_at("inverse_sqrt", jnp.arange(39), (warmup + 1) ** -0.5, warmup)
        np.testing.assert_allclose(rates, paper, rtol=1e-5)
