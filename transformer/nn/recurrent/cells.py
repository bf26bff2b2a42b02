"""Recurrent cells, and a recurrence over time.

    gru    r = sigmoid(W_r x + U_r h + b_r)        z = sigmoid(W_z x + U_z h + b_z)
           n = tanh(W_n x + b_n + r * (U_n h + c_n))
           h' = (1 - z) * n + z * h                Cho et al. 2014, https://arxiv.org/abs/1406.1078
    lstm   i, f, o = sigmoid(W x + U h + b), one each          g = tanh(W_g x + U_g h + b_g)
           c' = f * c + i * g                      h' = o * tanh(c')
           Hochreiter and Schmidhuber 1997; the forget gate of Gers et al. 2000

The GRU resets after the product with U_n, as cuDNN, PyTorch and Flax do (in the paper: U_n (r * h)), so that a step is
one product; its z is 1 - z of Chung et al. 2014. States are float32 whatever the compute type, since a sum over time
is kept in them; products are of the compute type. Names: x `input`, U `recurrent`, b `bias`, c_n `recurrent_bias`.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from transformer.ops.linear import linear

State = tuple[Array, ...]
"""Float32 arrays B E; the first is the hidden state h, which others read."""
Parameters = dict[str, Array]
Restart = tuple[Array, State]
"""Booleans B T where a recurrence begins again, and its states there, B T E; with a leading L for several layers."""

Inputs = TypeVar("Inputs")
Output = TypeVar("Output")


def gru(
    inputs_BZE: Float[Array, "B Z E"],
    products_BZE: Float[Array, "B Z E"],
    state: State,
    recurrent_bias_E: Float[Array, "E"] | None,
) -> State:
    """Compute the next state, from W x + b and U h."""
    (hidden_BE,) = state
    reset_BE, update_BE = (jax.nn.sigmoid(inputs_BZE[:, i] + products_BZE[:, i]) for i in (0, 1))
    recalled_BE = products_BZE[:, 2] if recurrent_bias_E is None else products_BZE[:, 2] + recurrent_bias_E[None]
    new_BE = jnp.tanh(inputs_BZE[:, 2] + reset_BE * recalled_BE)
    return ((1.0 - update_BE) * new_BE + update_BE * hidden_BE,)


def lstm(
    inputs_BZE: Float[Array, "B Z E"],
    products_BZE: Float[Array, "B Z E"],
    state: State,
    recurrent_bias_E: Float[Array, "E"] | None = None,
) -> State:
    """Compute the next state, from W x + b and U h."""
    _, memory_BE = state
    in_BE, forget_BE, new_BE, out_BE = jnp.moveaxis(inputs_BZE + products_BZE, 1, 0)
    memory_BE = jax.nn.sigmoid(forget_BE) * memory_BE + jax.nn.sigmoid(in_BE) * jnp.tanh(new_BE)
    return jax.nn.sigmoid(out_BE) * jnp.tanh(memory_BE), memory_BE


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row.

    Attributes:
        step: (W x + b as B Z E, U h as B Z E, state, c_n) -> the next state; float32.
        gates: in the order of Z; and what each bias starts from.
        states: number of arrays in a state.
        recurrent_bias: whether there is a c_n.
    """

    step: Callable[[Array, Array, State, Array | None], State]
    gates: dict[str, float]
    states: int
    recurrent_bias: bool = False


CELLS: dict[str, Cell] = {
    "gru": Cell(gru, {"reset": 0.0, "update": 0.0, "new": 0.0}, 1, recurrent_bias=True),
    # Jozefowicz et al. 2015: a forget gate that starts open lets the gradient through.
    "lstm": Cell(lstm, {"in": 0.0, "forget": 1.0, "new": 0.0, "out": 0.0}, 2),
}


def zero_state(cell: Cell, batch: int, width: int) -> State:
    """Return the state before the first position."""
    return (jnp.zeros((batch, width), jnp.float32),) * cell.states


def gate_inputs(parameters: Parameters, x_BTD: Array) -> Array:
    """Compute W x + b of all positions, B T Z E."""
    return linear(x_BTD, parameters["input"], parameters.get("bias"))


class Interruptions(NamedTuple):
    """The positions at which a state does not follow from the one before.

    Attributes:
        alive_BT: booleans, False where the state stays what it was; None: nowhere.
        restart: booleans B T, True where the recurrence begins anew, and the states B T E there; None: nowhere.
    """

    alive_BT: Array | None = None
    restart: Restart | None = None


def read_inputs(state: State, inputs_BZE: Array) -> tuple[Array, None]:
    """Return W x + b as it was computed for all positions, and nothing to be kept: the `read` of a plain recurrence."""
    return inputs_BZE, None


def recur(
    cell: Cell,
    parameters: Parameters,
    inputs: Inputs,
    begin: State,
    read: Callable[[State, Inputs], tuple[Array, Output]],
    *,
    interruptions: Interruptions = Interruptions(),
    reverse: bool = False,
) -> tuple[State, State, Output]:
    """Run the recurrence over time, s_t = step(s_(t-1), x_t).

    Args:
        inputs: arrays B T ..., of which `read` computes W x + b.
        begin: the state before the first position.
        read: (s_(t-1), inputs at t) -> W x_t + b as B Z E, and anything to be kept.
        interruptions: where the state stays what it was, or begins anew.
        reverse: from the last position to the first.

    Returns:
        The states at all positions, each B T E; the one after all of them; and what `read` kept, with a leading T.
    """
    recurrent = parameters["recurrent"]
    bias_E = parameters.get("recurrent_bias")

    def one(state: State, now: tuple[Inputs, Array | None, Restart | None]) -> tuple[State, tuple[State, Output]]:
        x, alive_B1, anew = now
        if anew is not None:
            state = _where(anew[0], anew[1], state)
        inputs_BZE, kept = read(state, x)
        products_BZE = linear(state[0].astype(inputs_BZE.dtype), recurrent)
        new = cell.step(inputs_BZE.astype(jnp.float32), products_BZE.astype(jnp.float32), state, bias_E)
        if alive_B1 is not None:
            new = _where(alive_B1, new, state)
        return new, (new, kept)

    alive_BT, restart = interruptions
    alive_BT1 = None if alive_BT is None else alive_BT[..., None]
    anew = None if restart is None else (restart[0][..., None], restart[1])
    over_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (inputs, alive_BT1, anew))
    last, (states, kept) = jax.lax.scan(one, begin, over_time, reverse=reverse)
    return tuple(jnp.swapaxes(x, 0, 1) for x in states), last, kept


def _where(condition: Array, one: State, other: State) -> State:
    return tuple(jnp.where(condition, a, b) for a, b in zip(one, other, strict=True))
