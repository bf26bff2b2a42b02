"""The recurrent Seq2Seq that the Transformer replaced, with attention or without.

    recurrent.attention none   the decoder starts from the last states of the encoder and reads nothing else of it
                               Sutskever et al. 2014, https://arxiv.org/abs/1409.3215
    any score                  the decoder attends to all states of the source in every step
                               Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473; the layers: `nn.recurrent.stacks`

The head reads s_j, or with attention tanh(W_s s_j + W_c c_j + b), which is equation 5 of Luong et al. 2015,
https://arxiv.org/abs/1508.04025. A layer of the decoder starts from the last states of the encoder's layer at the same
height, counted from the top, both ways side by side (Bahdanau et al. send the backward ones through another matrix).

The last states are those at the length of each source: after it forward states stand still, and backward ones have
not begun. Segments begin anew, the decoder's from the last states of their own source.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.errors import problem
from transformer.models.batch import Batch, Tree, cross_mask, extent, of_source, require
from transformer.models.encoder_decoder import EncoderDecoder
from transformer.nn.attention import Cache
from transformer.nn.dropout import Dropout
from transformer.nn.heads import last, next_logits, predictions, require_token_head
from transformer.nn.parameters import declare
from transformer.nn.recorder import Recorder
from transformer.nn.recurrent.cells import Restart, State
from transformer.nn.recurrent.stacks import DecoderInputs, RecurrentDecoder, RecurrentEncoder, starts_of
from transformer.nn.settings import ModelSettings
from transformer.ops.linear import linear
from transformer.ops.scores import find

ENDLESS = 2**31 - 1
"""Number of steps of a model whose state of decoding has no end."""


class Memory(NamedTuple):
    """The input of the decoder from the source.

    Attributes:
        states_BSD: of the encoder's last layer.
        begin: the decoder's states before the first token, L B D.
        restart: where the decoder's states begin again; None where examples are not packed.
    """

    states_BSD: Array
    begin: State
    restart: Restart | None = None


class Readout(nn.Module):
    """tanh(W_s s + W_c c + b)."""

    config: ModelSettings

    @nn.compact
    def __call__(self, state_BTD: Array, context_BTD: Array) -> Array:
        names = ["state", "context"] + ["bias"] * self.config.bias
        own = {name: declare(self, "readout", name, self.config) for name in names}
        return jnp.tanh(linear(state_BTD, own["state"], own.get("bias")) + linear(context_BTD, own["context"]))


class RnnSeq2Seq(EncoderDecoder):
    """The recurrent model: source B S, target B T -> logits B T V; logits at t are of the token at t + 1."""

    def setup(self) -> None:
        super().setup()
        config = self.config
        score = None if config.recurrent.score is None else find(config.score)
        self.encoder = RecurrentEncoder(config, self.request)
        self.decoder = RecurrentDecoder(config, self.request, score)
        if config.recurrent.score is not None:
            self.readout = Readout(config)

    def encode(self, batch: Batch, dropout: Dropout = Dropout()) -> tuple[Memory, dict[str, Array]]:
        """Return the decoder's input from the source, and what was captured."""
        (source_BS,) = require(batch, "source")
        _check_segments(batch)
        segments_BS, positions_S = batch.get("source_segments"), jnp.arange(source_BS.shape[1], dtype=jnp.int32)
        types_BS = batch.get("source_types")
        x_BSD, embedded = self.embed(source_BS, positions_S, dropout.fold_in(0), types_BS, "source")
        alive_BS = None
        if "source_lengths" in batch:
            alive_BS = positions_S[None] < batch["source_lengths"][:, None]
        if segments_BS is not None:
            alive_BS = segments_BS != 0 if alive_BS is None else alive_BS & (segments_BS != 0)
        x_BSD, states, last, captured = self.encoder(
            x_BSD, alive_BS=alive_BS, segments_BS=segments_BS, dropout=dropout.fold_in(1)
        )
        encoder_layers, decoder_layers = self.config.num_encoder_layers, self.config.num_decoder_layers
        rows = jnp.maximum(jnp.arange(decoder_layers, dtype=jnp.int32) + encoder_layers - decoder_layers, 0)
        memory = Memory(x_BSD, begin=tuple(x[rows] for x in last))
        if segments_BS is not None and alive_BS is not None:
            states = tuple(x[rows] for x in states)
            memory = memory._replace(restart=_of_segments(states, batch, alive_BS, self.config.recurrent.directions))
        return memory, {**embedded, **captured}

    def decode(self, batch: Batch, memory: Memory, dropout: Dropout = Dropout()) -> Tree:
        """Apply the decoder to the whole target."""
        (target_BT,) = require(batch, "target")
        source = self.decoder.read(memory.states_BSD)
        x_BTD, _, captured = self.read(target_BT, memory.begin, source, batch, dropout, memory.restart)
        recorder = Recorder(self.request, "decoder")
        out = predictions(self.head, x_BTD, self.target_table(), extent(batch, "target"), recorder)
        return {**out, "hidden": x_BTD, "captured": {**captured, **recorder.captured}}

    def read(
        self,
        target_BT: Array,
        begin: State,
        source: Cache | None,
        batch: Batch,
        dropout: Dropout = Dropout(),
        restart: Restart | None = None,
    ) -> tuple[Array, State, dict[str, Array]]:
        """Return the hidden states B T D of these tokens, the states of all layers L B T D, and what was captured.

        Args:
            begin: the states before the first token, L B D.
            source: keys and values of the source; None without attention.
            batch: lengths and segments.
        """
        B, T = target_BT.shape
        index_T = jnp.arange(T, dtype=jnp.int32)
        x_BTD, embedded = self.embed(target_BT, index_T, dropout.fold_in(0))
        allowed_BTS = None
        if source is not None:
            S = source["key"].shape[1]
            allowed = cross_mask(batch).allowed(index_T, S)
            allowed_BTS = None if allowed is None else jnp.broadcast_to(allowed[:, 0], (B, T, S))
        inputs = DecoderInputs(begin, source, allowed_BTS, restart, dropout.fold_in(1))
        x_BTD, context_BTD, states, captured = self.decoder(x_BTD, inputs)
        x_BTD = x_BTD if context_BTD is None else self.readout(x_BTD, context_BTD)
        return x_BTD, states, {**embedded, **captured}

    def start(self, batch: Batch, steps: int) -> tuple[Array, Tree, dict[str, Array]]:
        """Encode the source and read the prompt `target`.

        Returns:
            The logits B V of the prompt's next token, the cache, and what was captured.
        """
        require_token_head(self.config)
        target_BT, lengths_B = require(batch, "target", "target_lengths")
        memory, of_encoder = self.encode(batch)
        source = self.decoder.read(memory.states_BSD)
        x_BTD, states, of_decoder = self.read(target_BT, memory.begin, source, batch, restart=memory.restart)
        recorder = Recorder(self.request, "decoder")
        logits_BV = next_logits(self.head, last(x_BTD, lengths_B), self.target_table(), recorder)
        # The states do not grow, so there is no end.
        cache: Tree = {
            "states": _after(lengths_B, states, memory.begin),
            "remaining": jnp.full_like(lengths_B, ENDLESS),
        }
        if source is not None:
            cache |= {"cross": source, "source": of_source(batch)}
        return logits_BV, cache, {**of_encoder, **of_decoder, **recorder.captured}

    def step(self, tokens_B: Array, cache: Tree) -> tuple[Array, Tree, dict[str, Array]]:
        """Read one token of each example; return the logits B V of the next one, the cache, and what was captured."""
        x_B1D, states, captured = self.read(
            tokens_B[:, None], cache["states"], cache.get("cross"), cache.get("source", {})
        )
        states = tuple(x_LBTD[:, :, 0] for x_LBTD in states)
        recorder = Recorder(self.request, "decoder")
        logits_BV = next_logits(self.head, x_B1D[:, 0], self.target_table(), recorder)
        return logits_BV, {**cache, "states": states}, {**captured, **recorder.captured}


def _after(lengths_B: Array, states: State, begin: State) -> State:
    """Take the states L B D after the last token of prompts of these lengths, of states L B T D after each token."""
    last = jnp.maximum(lengths_B - 1, 0)[None, :, None, None]

    def one(states_LBTD: Array, begin_LBD: Array) -> Array:
        found_LBD = jnp.take_along_axis(states_LBTD, last, axis=2, mode="clip")[:, :, 0]
        return jnp.where(lengths_B[:, None] > 0, found_LBD, begin_LBD)

    return jax.tree.map(one, states, begin)


def _of_segments(states: State, batch: Batch, alive_BS: Array, directions: int) -> Restart:
    """Return where the target's segments start, and for each of its positions the last states of its own source.

    The states are L B T D. Forward ones stand at the last position of the segment, backward ones at its first; those of
    a segment without a source are zero.
    """
    source_BS, target_BT = batch["source_segments"], batch["target_segments"]
    same_BTS = (target_BT[:, :, None] == source_BS[:, None]) & alive_BS[:, None]
    first_BT = jnp.argmax(same_BTS, axis=-1)
    last_BT = source_BS.shape[1] - 1 - jnp.argmax(same_BTS[..., ::-1], axis=-1)
    some_BT1 = jnp.any(same_BTS, axis=-1)[..., None]

    def one(states_LBSD: Array) -> Array:
        ends = zip(jnp.split(states_LBSD, directions, axis=-1), (last_BT, first_BT), strict=False)
        found = [jnp.take_along_axis(part, at[None, :, :, None], axis=2) for part, at in ends]
        return jnp.where(some_BT1, jnp.concatenate(found, axis=-1), 0.0)

    return starts_of(target_BT), jax.tree.map(one, states)


def _check_segments(batch: Batch) -> None:
    """Raise a UserError where only source or target is packed."""
    packed = [name for name in ("source_segments", "target_segments") if name in batch]
    if len(packed) == 1:
        raise problem(
            "a recurrent decoder starts each segment from the last states of its own source",
            got=f"{packed[0]} alone",
            expected="source_segments and target_segments",
            do="Give both, or examples that are not packed.",
        )
