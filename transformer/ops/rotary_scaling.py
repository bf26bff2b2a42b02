"""Rotary positions for sequences longer than those of training: pairs that rotate more slowly.

    rotary_linear   rate / factor, of every pair                            Chen et al. 2023, https://arxiv.org/abs/2306.15595
    rotary_llama3   rate (k + (1 - k) / factor), k from the wavelength      Llama team 2024, https://arxiv.org/abs/2407.21783
    rotary_yarn     rate (k + (1 - k) / factor), k from the pair's index,   Peng et al. 2023, https://arxiv.org/abs/2309.00071
                    and cosine and sine times 0.1 ln(factor) + 1

Fast pairs, which rotate often within the original length, keep their rates (k = 1); slow ones, which do not rotate
once, have the angles of training at `factor` times the position (k = 0). Llama 3's k is linear in the rotations within
the original length, YaRN's in the index of the pair. YaRN's factor on cosine and sine takes the place of a temperature
of the softmax: scores grow by its square.

Each is `ops.positions.rotary` with other rates, and reads the base as it is given: a model gives it after NTK-aware
scaling (`ops.positions.scaled_base`), and it may be traced.
"""

import dataclasses
import math

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from transformer.errors import problem
from transformer.ops.positions import rotary_rates, rotate_pairs
from transformer.schema import above, at_least, setting

TURN = 2 * math.pi
"""Radians of a whole rotation."""


@dataclasses.dataclass(frozen=True)
class LinearScaling:
    """Settings of `rotary_linear`."""

    factor: float = setting(
        2.0, "factor on every wavelength, the new length by the length of training", check=at_least(1.0, 1e6)
    )


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
    """Settings of `rotary_llama3`; the defaults are those of Llama 3.1."""

    factor: float = setting(8.0, "factor on the wavelengths of slow pairs", check=at_least(1.0, 1e6))
    low_frequency_factor: float = setting(
        1.0, "rotations within the original length below which a pair is slow", check=above(0.0)
    )
    high_frequency_factor: float = setting(
        4.0, "rotations within the original length above which a pair keeps its wavelength", check=above(0.0)
    )
    original_length: int = setting(8192, "longest sequence of training (tokens)", check=at_least(1))

    def __post_init__(self) -> None:
        if self.high_frequency_factor <= self.low_frequency_factor:
            got, expected = (
                self.high_frequency_factor,
                f"a number above low_frequency_factor {self.low_frequency_factor}",
            )
            raise problem("high_frequency_factor of rotary_llama3 is too small", got=got, expected=expected)


@dataclasses.dataclass(frozen=True)
class YarnScaling:
    """Settings of `rotary_yarn`; the defaults are those of the paper's Llama 2."""

    factor: float = setting(16.0, "factor on the wavelengths of slow pairs", check=at_least(1.0, 1e6))
    original_length: int = setting(4096, "longest sequence of training (tokens)", check=at_least(1))
    beta_fast: float = setting(
        32.0, "rotations within the original length from which a pair keeps its wavelength", check=above(0.0)
    )
    beta_slow: float = setting(1.0, "rotations within the original length up to which a pair is slow", check=above(0.0))
    attention_factor: float | None = setting(
        None, "factor on rotated queries and keys; none: 0.1 ln(factor) + 1", check=above(0.0)
    )
    truncate: bool = setting(True, "whole numbers as the indices of the first and the last pair in between")

    def __post_init__(self) -> None:
        if self.beta_fast < self.beta_slow:
            got, expected = self.beta_fast, f"a number from beta_slow {self.beta_slow} on"
            raise problem("beta_fast of rotary_yarn is too small", got=got, expected=expected)


def rotary_linear(
    x_BTNH: Float[Array, "B T N H"],
    positions: Int[Array, "..."],
    base: float | Float[Array, ""] = 10_000.0,
    settings: LinearScaling = LinearScaling(),
) -> Float[Array, "B T N H"]:
    """Rotate queries or keys as at positions divided by the factor. Chen et al. 2023, "position interpolation".

    Args:
        x_BTNH, positions, base: as for `ops.positions.rotary`.

    Raises:
        UserError: H is odd.

    >>> rotary_linear(jnp.ones((2, 5, 4, 8)), jnp.arange(5)).shape
    (2, 5, 4, 8)
    """
    return rotate_pairs(x_BTNH, positions, rotary_rates(x_BTNH.shape[-1] // 2, base) / settings.factor)


def rotary_llama3(
    x_BTNH: Float[Array, "B T N H"],
    positions: Int[Array, "..."],
    base: float | Float[Array, ""] = 10_000.0,
    settings: Llama3Scaling = Llama3Scaling(),
) -> Float[Array, "B T N H"]:
    """Rotate queries or keys, slow pairs as at positions divided by the factor. Llama team 2024.

    Args:
        x_BTNH, positions, base: as for `ops.positions.rotary`.

    Raises:
        UserError: H is odd.

    >>> rotary_llama3(jnp.ones((2, 5, 4, 8)), jnp.arange(5)).shape
    (2, 5, 4, 8)
    """
    rates = rotary_rates(x_BTNH.shape[-1] // 2, base)
    low, high = settings.low_frequency_factor, settings.high_frequency_factor
    kept = jnp.clip((settings.original_length / TURN * rates - low) / (high - low), 0.0, 1.0)
    return rotate_pairs(x_BTNH, positions, _slowed(rates, kept, settings.factor))


def rotary_yarn(
    x_BTNH: Float[Array, "B T N H"],
    positions: Int[Array, "..."],
    base: float | Float[Array, ""] = 10_000.0,
    settings: YarnScaling = YarnScaling(),
) -> Float[Array, "B T N H"]:
    """Rotate queries or keys, slow pairs as at positions divided by the factor, and lengthen them. Peng et al. 2023.

    Args:
        x_BTNH, positions, base: as for `ops.positions.rotary`.

    Raises:
        UserError: H is odd.

    >>> rotary_yarn(jnp.ones((2, 5, 4, 8)), jnp.arange(5)).shape
    (2, 5, 4, 8)
    """
    half, lengthens = x_BTNH.shape[-1] // 2, settings.attention_factor
    first, last = _between(x_BTNH.shape[-1], base, settings)
    kept = 1.0 - jnp.clip((jnp.arange(half, dtype=jnp.float32) - first) / (last - first), 0.0, 1.0)
    rates = _slowed(rotary_rates(half, base), kept, settings.factor)
    return rotate_pairs(
        x_BTNH, positions, rates, 0.1 * math.log(settings.factor) + 1 if lengthens is None else lengthens
    )


def _slowed(rates: Array, kept: Array, factor: float) -> Array:
    """Mix rates with those divided by the factor."""
    return rates * (kept + (1.0 - kept) / factor)


def _between(width: int, base: float | Array, settings: YarnScaling) -> tuple[Array, Array]:
    """Return the indices of the first and the last pair between those that keep their rates and slow ones.

    Pair i rotates L / (2 pi base^(2 i / H)) times within the original length L, so i = H ln(L / (2 pi turns)) / (2 ln
    base). A base that is known is taken in float64, as other libraries do: rounding to a whole number leaves no slack.
    """
    is_known = isinstance(base, int | float)
    log, floor, ceil = (math.log, math.floor, math.ceil) if is_known else (jnp.log, jnp.floor, jnp.ceil)
    turns = settings.beta_fast, settings.beta_slow
    first, last = (width * math.log(settings.original_length / (TURN * n)) / (2 * log(base)) for n in turns)
    if settings.truncate:
        first, last = floor(first), ceil(last)
    first_index = jnp.maximum(jnp.asarray(first, jnp.float32), 0.0)
    last_index = jnp.minimum(jnp.asarray(last, jnp.float32), width - 1.0)
    return first_index, jnp.where(first_index == last_index, last_index + 0.001, last_index)
