"""Recurrent layers: an encoder, and a decoder that looks back at it once in every step.

    encoder   h^l = [forward; backward] over h^(l-1), each of half the width; h^0 the embedded source
    decoder   alpha_j = softmax over i of score(W_q s^0_(j-1), W_k h_i),    c_j = W_o sum over i of alpha_ji W_v h_i
              s^0_j = step(s^0_(j-1), [y_j; c_j]),    s^l_j = step(s^l_(j-1), [s^(l-1)_j; c_j])

With one layer the decoder is that of Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473, with any score and any
number of heads. With more, the lowest one asks and all of them read what it is told, as in Wu et al. 2016
(https://arxiv.org/abs/1609.08144): so only the lowest must wait for the attention of each step, and the products of
the others with their inputs are made for all positions at once. Dropout is on what a layer gives to the next, never
on what it gives to itself (Zaremba et al. 2014, https://arxiv.org/abs/1409.2329).

`residual` is the states that a layer gives on; replaced, it changes what is above and not the recurrence. A step's
activations are replaced at that step: the function is given one target position, T = 1.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.nn.attention import mixed
from transformer.nn.dropout import Noise
from transformer.nn.intermediates import HEAD_AXIS, Request, Watch, chosen_layers
from transformer.nn.parameters import Linear, ScoreParameters, declare
from transformer.nn.recurrent.cells import CELLS, Parameters, State, gate_inputs, recur, zero_state
from transformer.nn.settings import ModelSettings
from transformer.ops import masks
from transformer.ops.linear import linear

Restart = tuple[Array, State]
"""Booleans B T, and states B T D, with a leading L where they are of several layers: where a recurrence begins anew."""


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
    """B S D -> the states of the last layer B S D, one way or both."""

    config: Any
    asked: Request

    @nn.compact
    def __call__(
        self, x_BSD: Array, *, alive_BS: Array | None, segments_BS: Array | None, noise: Noise
    ) -> tuple[Array, State, State, dict[str, Array]]:
        """The states of the last layer; those of all layers, L B S D, and their last ones, L B D; what was captured."""
        config = self.config
        cell, layers = CELLS[config.recurrent.cell], config.num_encoder_layers
        owners = {"forward": False, "backward": True} if config.recurrent.bidirectional else {"forward": False}
        zero = zero_state(cell, len(x_BSD), config.width // len(owners))
        restarts = {owner: _from_zero(segments_BS, zero, reverse) for owner, reverse in owners.items()}

        def layer(x_BSD: Array, own: tuple[dict[str, Parameters], Array]) -> tuple[Array, tuple]:
            parameters, index = own
            watch, found = Watch(self.asked, "encoder", index), []
            for owner, reverse in owners.items():
                states, last, _ = recur(
                    cell, parameters[owner], gate_inputs(parameters[owner], x_BSD), zero,
                    alive_BT=alive_BS, restart=restarts[owner], reverse=reverse,
                )  # fmt: skip
                found.append((states, last))
            states, last = jax.tree.map(lambda *x: jnp.concatenate(x, axis=-1), *found)
            x_BSD = watch("residual", states[0].astype(x_BSD.dtype))
            return noise.within(index)(x_BSD, 0), (states, last, watch.seen)

        blocks = Cells(config, tuple(owners), layers, name="blocks")()
        with jax.named_scope("recurrent"):
            x_BSD, (states, last, seen) = jax.lax.scan(
                layer, x_BSD, (blocks, jnp.arange(layers)), unroll=layers if config.unroll else 1
            )
        return x_BSD, states, last, chosen_layers(seen, self.asked)


def _from_zero(segments_BS: Array | None, zero: State, reverse: bool) -> Restart | None:
    """Begins anew with each segment, in the direction of reading."""
    if segments_BS is None:
        return None
    shape = (*segments_BS.shape, zero[0].shape[-1])
    return starts_of(segments_BS, reverse), tuple(jnp.broadcast_to(x[:, None], shape) for x in zero)


def starts_of(segments_BT: Array, reverse: bool = False) -> Array:
    """Where a segment starts, read from the first position on, or from the last."""
    changes = segments_BT[:, 1:] != segments_BT[:, :-1]
    edge = jnp.ones_like(segments_BT[:, :1], bool)
    return jnp.concatenate([changes, edge] if reverse else [edge, changes], axis=1)


class RecurrentAttention(nn.Module):
    """The decoder's attention: its parameters, and the keys and values, which are made once."""

    config: Any

    def setup(self) -> None:
        self.query, self.output = (_LinearParameters(self.config, owner) for owner in ("query", "output"))
        self.key, self.value = (Linear(self.config, owner) for owner in ("key", "value"))
        self.score = ScoreParameters(self.config)

    def __call__(self) -> dict[str, Parameters]:
        return {"query": self.query(), "output": self.output(), "score": self.score()}

    def read(self, source_BSD: Array) -> dict[str, Array]:
        return {"key": self.key(source_BSD), "value": self.value(source_BSD)}


class _LinearParameters(Linear):
    """The parameters of a `Linear`, for use within a loop."""

    @nn.compact
    def __call__(self) -> Parameters:
        return self.parameters()


class RecurrentDecoder(nn.Module):
    """B T D -> the states of the last layer B T D, and the context of each position where there is attention."""

    config: Any
    asked: Request

    def setup(self) -> None:
        self.blocks = Cells(self.config, ("cell",), self.config.num_decoder_layers)
        if self.config.recurrent.score is not None:
            self.cross = RecurrentAttention(self.config)

    def __call__(
        self,
        x_BTD: Array,
        begin: State,
        *,
        source: dict[str, Array] | None,
        allowed_BTS: Array | None,
        restart: Restart | None,
        noise: Noise,
    ) -> tuple[Array, Array | None, State, dict[str, Array]]:
        """The states of the last layer, the context, the states of all layers L B T D, and what was captured.

        Args:
            begin: the states before the first position, L B D.
            source: keys and values.
            allowed_BTS: which states of the source each position may see; None is all.
        """
        blocks, context_BTD, lowest = self.blocks()["cell"], None, 0
        of_layers = (begin, None if restart is None else restart[1])
        found = []
        if source is not None:
            own, rest = (jax.tree.map(lambda x, i=i: x[i], (blocks, of_layers)) for i in (0, slice(1, None)))
            x_BTD, context_BTD, *first = self.attentive(x_BTD, *own, source, allowed_BTS, restart, noise)
            found.append(jax.tree.map(lambda x: x[None], tuple(first)))
            (blocks, of_layers), lowest = rest, 1
        layers = self.config.num_decoder_layers - lowest
        if layers:
            x_BTD, above = self.plain(x_BTD, blocks, of_layers, lowest, context_BTD, restart, noise)
            found.append(above)
        states = jax.tree.map(lambda *x: jnp.concatenate(x), *(states for states, _ in found))
        seen = {name: [part[name] for _, part in found if name in part] for name in found[0][1]}
        joined = {name: jnp.concatenate(parts) for name, parts in seen.items()}
        return x_BTD, context_BTD, states, chosen_layers(joined, self.asked)

    def read(self, source_BSD: Array) -> dict[str, Array] | None:
        """The keys and values of a source; None without attention."""
        if self.config.recurrent.score is None:
            return None
        return self.cross.read(source_BSD)

    def plain(self, x_BTD, blocks, of_layers, lowest, context_BTD, restart, noise) -> tuple[Array, tuple]:
        """Layers from `lowest` on, one after another, each over all positions."""
        cell, layers = CELLS[self.config.recurrent.cell], self.config.num_decoder_layers - lowest

        def layer(x_BTD: Array, own: tuple) -> tuple[Array, tuple]:
            parameters, (begin, anew), index = own
            watch = Watch(self.asked, "decoder", index)
            inputs_BTZD = gate_inputs(parameters, x_BTD)
            if context_BTD is not None:
                inputs_BTZD = inputs_BTZD + linear(context_BTD, parameters["context"])
            again = None if restart is None else (restart[0], anew)
            states, _, _ = recur(cell, parameters, inputs_BTZD, begin, restart=again)
            x_BTD = watch("residual", states[0].astype(x_BTD.dtype))
            return noise.within(index)(x_BTD, 0), (states, watch.seen)

        with jax.named_scope("recurrent"):
            own = (blocks, of_layers, lowest + jnp.arange(layers))
            return jax.lax.scan(layer, x_BTD, own, unroll=layers if self.config.unroll else 1)

    def attentive(self, x_BTD, parameters, of_layer, source, allowed_BTS, restart, noise) -> tuple:
        """The lowest layer, which asks in each step: what it gives on, the context, its states, what was captured."""
        config, (begin, anew) = self.config, of_layer
        noise, weights = noise.within(0), self.cross()
        watch = Watch(self.asked, "decoder", 0)
        key_BSKH, value_BSKH = (watch(f"cross.{name}", source[name]) for name in ("key", "value"))

        def read(state: State, now: tuple) -> tuple[Array, tuple]:
            inputs_BZD, allowed_BS, position_B = now
            within = Watch(self.asked, "decoder", 0)
            with jax.named_scope("cross"):
                see = lambda name, x: within(f"cross.{name}", x)  # noqa: E731
                query_B1NH = see("query", linear(state[0][:, None].astype(x_BTD.dtype), **weights["query"]))
                mask = masks.everything() if allowed_BS is None else masks.given(allowed_BS[:, None])
                head_B1NH = mixed(
                    config, "cross", weights["score"], query_B1NH, key_BSKH, value_BSKH,
                    noise.within(1).within(position_B[0]), within, mask=mask,
                )  # fmt: skip
                context_B1D = see("output", linear(see("head", head_B1NH), **weights["output"], inputs=2))
            return inputs_BZD + linear(context_B1D[:, 0], parameters["context"]), (context_B1D, within.seen)

        with jax.named_scope("recurrent"):
            positions_BT = jnp.broadcast_to(jnp.arange(x_BTD.shape[1]), x_BTD.shape[:2])
            now = (gate_inputs(parameters, x_BTD), allowed_BTS, positions_BT)
            again = None if restart is None else (restart[0], anew)
            cell = CELLS[config.recurrent.cell]
            states, _, (context, seen) = recur(cell, parameters, now, begin, restart=again, read=read)
        x_BTD = watch("residual", states[0].astype(x_BTD.dtype))
        seen = {**watch.seen, **{name: _over_time(name, x) for name, x in seen.items()}}
        return noise(x_BTD, 0), _joined(context, 1), states, seen


def _over_time(name: str, x: Array) -> Array:
    """T and one position's activation -> the activation of all positions."""
    site, _, head = name.partition(".cross.")[2].partition(".")
    cut = head.isdigit() and HEAD_AXIS[site] == 1
    return _joined(x, 1 + (HEAD_AXIS.get(site) == 1 and not cut))


def _joined(x: Array, axis: int) -> Array:
    """T B ... 1 ... -> B ... T ..., where `axis` is the one of a position in what follows T."""
    return jnp.moveaxis(jnp.squeeze(x, axis + 1), 0, axis)
