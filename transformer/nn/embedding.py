"""Embeddings: tokens to vectors."""

import flax.linen as nn
from jax import Array

from transformer.axes import to_rank
from transformer.errors import problem
from transformer.nn.dropout import Dropout
from transformer.nn.modules import Norm, RowParameters, Table
from transformer.nn.positions import POSITIONS
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings
from transformer.ops.linear import embed


class Embedding(nn.Module):
    """Token embeddings with positions and token types; B T -> B T D.

    The table is the caller's, since source, target and output may share one.

    Attributes:
        config: model settings.
        typed: True adds the table of token types, where the config has any.
    """

    config: ModelSettings
    typed: bool = False

    @nn.compact
    def __call__(
        self,
        tokens_BT: Array,
        table_VD: Array,
        *,
        positions: Array,
        dropout: Dropout,
        recorder: Recorder,
        types_BT: Array | None = None,
    ) -> Array:
        config = self.config
        x_BTD = embed(tokens_BT, table_VD, config.compute_dtype)
        if config.embedding.scale:
            x_BTD = x_BTD * config.width**0.5
        row = POSITIONS.of(config, "position")
        if row.adds is not None:
            check_length(config, tokens_BT.shape[1])
            parameters = RowParameters(config, row.owner, row.parameters, name=row.owner)()
            x_BTD = x_BTD + to_rank(row.adds(positions, config, **parameters, **row.own).astype(x_BTD.dtype), 3)
        if self.typed and config.embedding.types:
            types_BT = tokens_BT * 0 if types_BT is None else types_BT
            x_BTD = x_BTD + embed(types_BT, Table(config, "types", name="types")(), x_BTD.dtype)
        if config.embedding.norm:
            x_BTD = Norm(config, name="norm")(x_BTD)
        return dropout(recorder.record("embedding", x_BTD), 0)


def longest_sequence(config: ModelSettings) -> int | None:
    """Return the length of the table of learned positions (tokens); None where there is no table."""
    return config.max_length if POSITIONS.of(config, "position").is_bounded else None


def check_length(config: ModelSettings, length: int, steps: int | None = None) -> None:
    """Raise a UserError for a sequence that is longer than the table of learned positions (tokens).

    Args:
        length: of the sequence, or of the prompts (with padding) from which decoding goes on.
        steps: most tokens to decode, of which the last one is not read; None: none.
    """
    longest, what = longest_sequence(config), "the sequence is longer than the table of learned positions"
    if longest is None or length + (steps or 1) - 1 <= longest:
        return
    expected, do = f"at most model.max_length = {longest}", "Set model.max_length higher, or model.position to one"
    if steps is None or length > longest:
        what = what if steps is None else what.replace("sequence", "prompt")
        raise problem(what, got=f"{length} tokens", expected=expected, do=f"{do} without a table.")
    raise problem(
        "the prompt with the tokens to decode is longer than the table of learned positions",
        got=f"{length} tokens (with padding) and {steps} steps",
        expected=f"at most {longest - length + 1} steps (model.max_length = {longest})",
        do=f"Pass fewer steps. {do} without a table.",
    )
