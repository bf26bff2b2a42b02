"""Where a model looks while it writes an answer: weights from each answer token to each source token.

seq2seq       the decoder's cross-attention
decoder_only  its self-attention, from the positions that predict the answer to those of the source
encoder_only  its self-attention, from the answer's slots to the positions of the source
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from experiments.tasks.framing import SpecialTokens
from experiments.tasks.text_to_text import TextToText
from transformer import Model
from transformer.errors import problem


@dataclasses.dataclass(frozen=True)
class AttentionMap:
    """Weights L N T S of one example, with the tokens of both axes; row t is where token t of the answer comes from."""

    weights_LNTS: Float[np.ndarray, "L N T S"]
    answer_tokens: list[str]
    source_tokens: list[str]
    name: str


def attention_map(model: Model, params: Any, task: TextToText, source: str, answer_ids: np.ndarray) -> AttentionMap:
    """The map for a source and the answer that the model gave.

    Args:
        answer_ids: M, up to and including the end token.

    Raises:
        UserError: a Seq2Seq model without cross-attention has nothing to show.
    """
    source_ids = task.tokenizer.encode(source)
    rows, columns = len(answer_ids), len(source_ids)
    architecture = model.config.architecture
    if architecture == "seq2seq":
        if not model.config.cross_attention:
            raise problem("this model has no cross-attention to look at", got="model.cross_attention False")
        source_ids = np.append(source_ids, SpecialTokens.end)
        target = np.concatenate([[SpecialTokens.begin], answer_ids[:-1]])
        batch, name, first = {"source": source_ids, "target": target}, "decoder.*.cross.weights", 0
        columns += 1
    elif architecture == "decoder_only":
        target = np.concatenate([source_ids, [SpecialTokens.separator], answer_ids[:-1]])
        batch, name, first = {"target": target}, "decoder.*.self.weights", columns
        if task.frame.config.bidirectional_prefix:
            batch["prefix_lengths"] = np.array(columns + 1)
        columns += 1
    else:
        masks = np.full(task.slots, SpecialTokens.mask)
        batch = {"source": np.concatenate([source_ids, [SpecialTokens.separator], masks])}
        name, first = "encoder.*.self.weights", columns + 1
        columns += 1
    batch = {key: value[None].astype(np.int32) for key, value in batch.items()}
    out = jax.jit(lambda params, batch: model.apply(params, batch, capture=(name,)))(params, batch)
    weights_LNTS = np.asarray(out["captured"][name])[:, 0, :, first : first + rows, :columns]
    key_ids = next(iter(batch.values()))[0][:columns]
    tokens = task.tokenizer.tokens
    return AttentionMap(weights_LNTS, tokens(answer_ids), tokens(key_ids), name)
