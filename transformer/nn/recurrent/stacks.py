"""Recurrent layers: an encoder, and a decoder that attends to it once in every step.

    encoder   h^l = [forward; backward] over h^(l-1), each of half the width; h^0 the embedded source
    decoder   alpha_j = softmax over i of score(W_q s^0_(j-1), W_k h_i),    c_j = W_o sum over i of alpha_ji W_v h_i
              s^0_j = step(s^0_(j-1), [y_j; c_j]),    s^l_j = step(s^l_(j-1), [s^(l-1)_j; c_j])

With one layer the decoder is that of Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473, with any score and any
number of heads. With more, the lowest one attends and all of them read its context, as in Wu et al. 2016
(https://arxiv.org/abs/1609.08144): so only the lowest must wait for the attention of each step, and the products of
the others with their inputs are made for all positions at once. Dropout is on the input of a layer from the one
below, never on its own state (Zaremba et al. 2014, https://arxiv.org/abs/1409.2329).

`residual` is the states that a layer hands to the next; replaced, it changes the layers above and not the recurrence.
A step's activations are replaced at that step: the function is given one target position, T = 1.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.nn.attention import AttentionInputs, Cache, attend_recorded
from transformer.nn.dropout import Dropout
from transformer.nn.intermediates import Request
from transformer.nn.names import HEAD_AXIS
from transformer.nn.parameters import declare
from transformer.nn.recorder import Recorder, chosen_layers
from transformer.nn.recurrent.attention import RecurrentAttention
from transformer.nn.recurrent.cells import (
    CELLS,
    Interruptions,
    Parameters,
    Restart,
    State,
    gate_inputs,
    read_inputs,
    recur,
    zero_state,
)
from transformer.nn.settings import ModelSettings
from transformer.ops import masks
from transformer.ops.linear import linear
from transformer.ops.scores import Score

Captured = dict[str, Array]
"""Name -> activation."""

Layers = tuple[Parameters, State, State | None]
"""Parameters, first states, and states at restarts, of one layer; of several, each with a leading L."""


class Cells(nn.Module):
    """The parameters of a stack's cells, one set for each of `owners`, with a leading L; to be named "blocks"."""

    config: ModelSettings
    owners: tuple[str, ...]
    layers: int

    @nn.compact
    def __call__(self) -> dict[str, Parameters]:
        return {owner: _CellParameters(self.config, owner, self.layers, name=owner)() for owner in self.owners}


class _CellParameters(nn.Module):
    """The parameters of the cells of one owner, all layers of them."""

    config: ModelSettings
    owner: str
    layers: int

    @nn.compact
    def __call__(self) -> Parameters:
        names = ["input", "recurrent"]
        if self.owner == "cell" and self.config.recurrent.score is not None:
            names.append("context")
        if self.config.bias:
            names += ["bias"] + ["recurrent_bias"] * CELLS[self.config.recurrent.cell].recurrent_bias
        return {name: declare(self, self.owner, name, self.config, layers=self.layers) for name in names}


class RecurrentEncoder(nn.Module):
    """The recurrent encoder: B S D -> states of the last layer B S D, in one direction or both."""

    config: ModelSettings
    request: Request

    @nn.compact
    def __call__(
        self, x_BSD: Array, *, alive_BS: Array | None, segments_BS: Array | None, dropout: Dropout
    ) -> tuple[Array, State, State, dict[str, Array]]:
        """Return the last layer's states B S D, those of all layers L B S D, their last ones L B D, the captured."""
        config = self.config
        cell, layers = CELLS[config.recurrent.cell], config.num_encoder_layers
        owners = {"forward": False, "backward": True} if config.recurrent.bidirectional else {"forward": False}
        zero = zero_state(cell, len(x_BSD), config.width // len(owners))
        restarts = {owner: _from_zero(segments_BS, zero, reverse) for owner, reverse in owners.items()}

        def layer(
            x_BSD: Array, own: tuple[dict[str, Parameters], Array]
        ) -> tuple[Array, tuple[State, State, Captured]]:
            parameters, index = own
            recorder, found = Recorder(self.request, "encoder", index), []
            for owner, reverse in owners.items():
                states, last, _ = recur(
                    cell,
                    parameters[owner],
                    gate_inputs(parameters[owner], x_BSD),
                    zero,
                    read_inputs,
                    interruptions=Interruptions(alive_BS, restarts[owner]),
                    reverse=reverse,
                )
                found.append((states, last))
            states, last = jax.tree.map(lambda *x: jnp.concatenate(x, axis=-1), *found)
            x_BSD = recorder.record("residual", states[0].astype(x_BSD.dtype))
            return dropout.fold_in(index)(x_BSD, 0), (states, last, recorder.captured)

        blocks = Cells(config, tuple(owners), layers, name="blocks")()
        with jax.named_scope("recurrent"):
            x_BSD, (states, last, captured) = jax.lax.scan(
                layer, x_BSD, (blocks, jnp.arange(layers, dtype=jnp.int32)), unroll=layers if config.unroll else 1
            )
        return x_BSD, states, last, chosen_layers(captured, self.request)


def _from_zero(segments_BS: Array | None, zero: State, reverse: bool) -> Restart | None:
    """Return a restart from zero at each segment, in the direction of reading."""
    if segments_BS is None:
        return None
    shape = (*segments_BS.shape, zero[0].shape[-1])
    return starts_of(segments_BS, reverse), tuple(jnp.broadcast_to(x[:, None], shape) for x in zero)


def starts_of(segments_BT: Array, reverse: bool = False) -> Array:
    """Return booleans B T, True where a segment starts, read from the first position on or from the last."""
    changes = segments_BT[:, 1:] != segments_BT[:, :-1]
    edge = jnp.ones_like(segments_BT[:, :1], bool)
    return jnp.concatenate([changes, edge] if reverse else [edge, changes], axis=1)


class DecoderInputs(NamedTuple):
    """The inputs of the decoder beside its target.

    Attributes:
        begin: the states before the first position, L B D.
        source: keys and values of the source, B S K H; None without attention.
        allowed_BTS: which states of the source each position may see; None is all.
        restart: where the states begin again, L B T D; None where examples are not packed.
        dropout: of the decoder.
    """

    begin: State
    source: Cache | None = None
    allowed_BTS: Array | None = None
    restart: Restart | None = None
    dropout: Dropout = Dropout()


class RecurrentDecoder(nn.Module):
    """The recurrent decoder: B T D -> states of the last layer B T D, and the context of each position with attention.

    Attributes:
        config: model settings.
        request: the activations to capture and to replace.
        score: the score function of the attention; None without attention.
    """

    config: ModelSettings
    request: Request
    score: Score | None

    def setup(self) -> None:
        self.blocks = Cells(self.config, ("cell",), self.config.num_decoder_layers)
        if self.score is not None:
            self.cross = RecurrentAttention(self.config, self.score)

    def __call__(self, x_BTD: Array, inputs: DecoderInputs) -> tuple[Array, Array | None, State, dict[str, Array]]:
        """Return the states of the last layer, the context, the states of all layers L B T D, and what was captured."""
        blocks, context_BTD, lowest = self.blocks()["cell"], None, 0
        layers = (blocks, inputs.begin, None if inputs.restart is None else inputs.restart[1])
        found = []
        if inputs.source is not None:
            first, layers = (jax.tree.map(lambda x, i=i: x[i], layers) for i in (0, slice(1, None)))
            x_BTD, context_BTD, outputs = self.attentive(x_BTD, first, inputs, inputs.source)
            found.append(jax.tree.map(lambda x: x[None], outputs))
            lowest = 1
        if self.config.num_decoder_layers > lowest:
            x_BTD, above = self.plain(x_BTD, layers, inputs, lowest, context_BTD)
            found.append(above)
        states = jax.tree.map(lambda *x: jnp.concatenate(x), *(states for states, _ in found))
        parts = {name: [captured[name] for _, captured in found if name in captured] for name in found[0][1]}
        captured = {name: jnp.concatenate(arrays) for name, arrays in parts.items()}
        return x_BTD, context_BTD, states, chosen_layers(captured, self.request)

    def read(self, source_BSD: Array) -> Cache | None:
        """Return the keys and values of a source; None without attention."""
        return None if self.score is None else self.cross.read(source_BSD)

    def plain(
        self, x_BTD: Array, layers: Layers, inputs: DecoderInputs, lowest: int, context_BTD: Array | None
    ) -> tuple[Array, tuple[State, Captured]]:
        """Apply the layers from `lowest` on, one after another, each over all positions.

        Args:
            layers: their parameters, first states, and states at restarts, each with a leading L.
        """
        cell, count = CELLS[self.config.recurrent.cell], self.config.num_decoder_layers - lowest

        def layer(x_BTD: Array, own: tuple[Layers, Array]) -> tuple[Array, tuple[State, Captured]]:
            (parameters, begin, again), index = own
            recorder = Recorder(self.request, "decoder", index)
            inputs_BTZD = gate_inputs(parameters, x_BTD)
            if context_BTD is not None:
                inputs_BTZD = inputs_BTZD + linear(context_BTD, parameters["context"])
            interruptions = Interruptions(restart=_restart(inputs, again))
            states, _, _ = recur(cell, parameters, inputs_BTZD, begin, read_inputs, interruptions=interruptions)
            x_BTD = recorder.record("residual", states[0].astype(x_BTD.dtype))
            return inputs.dropout.fold_in(index)(x_BTD, 0), (states, recorder.captured)

        with jax.named_scope("recurrent"):
            own = (layers, lowest + jnp.arange(count, dtype=jnp.int32))
            return jax.lax.scan(layer, x_BTD, own, unroll=count if self.config.unroll else 1)

    def attentive(
        self, x_BTD: Array, layer: Layers, inputs: DecoderInputs, source: Cache
    ) -> tuple[Array, Array, tuple[State, Captured]]:
        """Apply the lowest layer, which attends in each step.

        Args:
            layer: its parameters, first state, and states at restarts.
            source: keys and values of the source, B S K H.

        Returns:
            Its states after dropout, the context, and the pair of its states and what was captured.
        """
        parameters, begin, again = layer
        own, dropout = self.cross(), inputs.dropout.fold_in(0)
        recorder = Recorder(self.request, "decoder", 0)
        record = recorder.sublayer("cross").record
        key_BSKH, value_BSKH = (record(name, source[name]) for name in ("key", "value"))

        def read(state: State, now: tuple[Array, Array | None, Array]) -> tuple[Array, tuple[Array, Captured]]:
            inputs_BZD, allowed_BS, position_B = now
            whole = Recorder(self.request, "decoder", 0, step=(position_B[0], x_BTD.shape[1]))
            step_recorder = whole.sublayer("cross")
            record = step_recorder.record
            with jax.named_scope("cross"):
                query_B1NH = record("query", linear(state[0][:, None].astype(x_BTD.dtype), **own.query, inputs=1))
                step_inputs = AttentionInputs(
                    mask=masks.everything() if allowed_BS is None else masks.given(allowed_BS[:, None]),
                    recorder=step_recorder,
                    dropout=dropout.fold_in(1).fold_in(position_B[0]),
                )
                head_B1NH = record("head", attend_recorded(query_B1NH, key_BSKH, value_BSKH, own.scoring, step_inputs))
                context_B1D = record("output", linear(head_B1NH, **own.output, inputs=2))
            new_inputs_BZD = inputs_BZD + linear(context_B1D[:, 0], parameters["context"])
            return new_inputs_BZD, (context_B1D, step_recorder.captured)

        with jax.named_scope("recurrent"):
            positions_BT = jnp.broadcast_to(jnp.arange(x_BTD.shape[1], dtype=jnp.int32), x_BTD.shape[:2])
            over_time = (gate_inputs(parameters, x_BTD), inputs.allowed_BTS, positions_BT)
            cell = CELLS[self.config.recurrent.cell]
            restart = _restart(inputs, again)
            states, _, (context, steps) = recur(
                cell, parameters, over_time, begin, read, interruptions=Interruptions(restart=restart)
            )
        x_BTD = recorder.record("residual", states[0].astype(x_BTD.dtype))
        captured = {**recorder.captured, **{name: _over_time(name, x) for name, x in steps.items()}}
        return dropout(x_BTD, 0), _joined(context, 1), (states, captured)


def _restart(inputs: DecoderInputs, again: State | None) -> Restart | None:
    """Return where one layer begins again, and the states with which it does."""
    return None if inputs.restart is None or again is None else (inputs.restart[0], again)


def _over_time(name: str, x: Array) -> Array:
    """Join the activations of single positions, with a leading T, to the activation of all positions."""
    site, _, head = name.partition(".cross.")[2].partition(".")
    cut = head.isdigit() and HEAD_AXIS[site] == 1
    return _joined(x, 1 + (HEAD_AXIS.get(site) == 1 and not cut))


def _joined(x: Array, axis: int) -> Array:
    """Move T of T B ... 1 ... to `axis`, which is that of the single position in what follows T."""
    return jnp.moveaxis(jnp.squeeze(x, axis + 1), 0, axis)
