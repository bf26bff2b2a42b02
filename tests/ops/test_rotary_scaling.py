"""Rotary positions for longer sequences: their equations in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import check_gradients, normal
from tests.fixtures.commands import error_of
from transformer.nn.positions import POSITIONS
from transformer.ops.positions import rotary
from transformer.ops.rotary_scaling import (
    LinearScaling,
    Llama3Scaling,
    YarnScaling,
    rotary_linear,
    rotary_llama3,
    rotary_yarn,
)

H = 32
AT = jnp.array([0, 1, 7, 150])


def llama3_rates(rates, s):
    """Three cases by wavelength, as the team's own code has them."""
    found = []
    for rate in rates:
        wavelength = 2 * np.pi / rate
        if wavelength < s.original_length / s.high_frequency_factor:
            found.append(rate)
        elif wavelength > s.original_length / s.low_frequency_factor:
            found.append(rate / s.factor)
        else:
            smooth = s.original_length / wavelength - s.low_frequency_factor
            smooth /= s.high_frequency_factor - s.low_frequency_factor
            found.append((1 - smooth) * rate / s.factor + smooth * rate)
    return np.array(found)


def yarn_rates(rates, s):
    """The index at which a pair makes a number of rotations, by the rates themselves."""
    step = -np.log(rates[1])  # rates fall by it from pair to pair
    first, last = (np.log(s.original_length / (2 * np.pi * turns)) / step for turns in (s.beta_fast, s.beta_slow))
    if s.truncate:
        first, last = np.floor(first), np.ceil(last)
    first, last = max(first, 0), min(last, 2 * len(rates) - 1)
    ramp = [min(max((i - first) / (last - first), 0), 1) for i in range(len(rates))]
    return np.array([(1 - r) * rate + r * rate / s.factor for r, rate in zip(ramp, rates, strict=True)])


LLAMA3 = Llama3Scaling(factor=3.0, low_frequency_factor=1.5, high_frequency_factor=9.0, original_length=300)
YARN = YarnScaling(factor=5.0, original_length=400, beta_fast=12.0, beta_slow=1.5)
REAL = dataclasses.replace(YARN, truncate=False, attention_factor=0.7)
WIDE = dataclasses.replace(YARN, beta_fast=90.0, beta_slow=1e-3)
SHARP = YarnScaling(factor=5.0, original_length=400, beta_fast=2.0, beta_slow=2.0, truncate=False, attention_factor=0.7)
CASES = {
    "linear": (rotary_linear, LinearScaling(3.0), lambda rates, s: rates / s.factor, 1.0),
    "llama3": (rotary_llama3, LLAMA3, llama3_rates, 1.0),
    "llama3, defaults": (rotary_llama3, Llama3Scaling(), llama3_rates, 1.0),
    "yarn": (rotary_yarn, YARN, yarn_rates, 0.1 * np.log(5) + 1),
    "yarn, defaults": (rotary_yarn, YarnScaling(), yarn_rates, 0.1 * np.log(16) + 1),
    "yarn, no whole numbers": (rotary_yarn, REAL, yarn_rates, 0.7),
    "yarn, the whole range": (rotary_yarn, WIDE, yarn_rates, None),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("base", [500.0, 10_000.0])
def test_pairs_rotate_at_the_rates_of_the_equation_whether_the_base_is_known_or_traced(name, base):
    function, settings, rates_of, factor = CASES[name]
    factor = 0.1 * np.log(settings.factor) + 1 if factor is None else factor
    plain = base ** -(np.arange(H // 2) / (H // 2))
    rates = rates_of(plain, settings)
    x = normal(0, 1, len(AT), 2, H)
    z = np.asarray(x, np.float64)[..., : H // 2] + 1j * np.asarray(x, np.float64)[..., H // 2 :]
    z = factor * z * np.exp(1j * np.asarray(AT)[:, None, None] * rates)
    expected = np.concatenate([z.real, z.imag], axis=-1)
    for given in (base, jnp.float32(base)):
        np.testing.assert_allclose(function(x, AT, given, settings=settings), expected, rtol=1e-4, atol=1e-4)
    if name in ("llama3", "yarn"):
        np.testing.assert_allclose(rates[[0, -1]], plain[[0, -1]] * [1, 1 / settings.factor])


def test_a_ramp_without_width_is_a_step():
    x = jnp.ones((1, 1, 1, H))
    turned = np.asarray(rotary_yarn(x, jnp.array([1]), 10_000.0, SHARP))[0, 0, 0]
    angle = np.arctan2(turned[H // 2 :], turned[: H // 2]) - np.pi / 4
    rates = 10_000.0 ** -(np.arange(H // 2) / (H // 2))
    rotations = 400 * rates / (2 * np.pi)
    np.testing.assert_allclose(angle, np.where(rotations > 2, rates, rates / 5), atol=1e-5)
    np.testing.assert_allclose(np.hypot(turned[: H // 2], turned[H // 2 :]), 0.7 * np.sqrt(2), rtol=1e-5)


def test_a_factor_of_one_is_plain_rotary():
    x = normal(0, 1, len(AT), 2, H)
    for function, settings in (
        (rotary_linear, LinearScaling(1.0)),
        (rotary_llama3, Llama3Scaling(1.0)),
        (rotary_yarn, YarnScaling(1.0)),
    ):
        np.testing.assert_allclose(function(x, AT, 500.0, settings), rotary(x, AT, 500.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in POSITIONS if name.startswith("rotary_")])
def test_gradients_of_scaled_rotary_are_those_of_finite_differences(name):
    row = POSITIONS[name]
    check_gradients(lambda x: row.rotates(x, AT, 10_000.0, **row.own), normal(0, 1, len(AT), 1, 8))


@pytest.mark.parametrize("name", [name for name in POSITIONS if name.startswith("rotary")])
def test_rotations_keep_the_type_of_their_input_and_take_pairs(name):
    row = POSITIONS[name]
    narrow = jax.eval_shape(lambda x: row.rotates(x, AT, 1e4, **row.own), jnp.ones((1, len(AT), 2, 8), jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    assert row.pairs
    message = error_of(row.rotates, jnp.ones((1, len(AT), 2, 7)), AT, 1e4, **row.own)
    assert "rotary positions rotate pairs of entries; got H = 7; expected even" in message


def test_settings_that_leave_no_range_are_an_error():
    message = error_of(Llama3Scaling, low_frequency_factor=4.0)
    assert "high_frequency_factor of rotary_llama3 is too small; got 4.0; expected a number above low_freq" in message
    message = error_of(YarnScaling, beta_slow=33.0)
    assert "beta_fast of rotary_yarn is too small; got 32.0; expected a number from beta_slow 33.0 on" in message
