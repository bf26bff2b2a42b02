"""Attention weights of a model while it writes an answer: from each answer token to each source token."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from experiments.tasks.task import Task
from transformer import Model, build


@dataclasses.dataclass(frozen=True)
class AttentionMap:
    """Attention weights L N T S of one example, with the tokens of both axes; row t predicts token t of the answer."""

    weights_LNTS: Float[np.ndarray, "L N T S"]
    answer_tokens: list[str]
    source_tokens: list[str]
    activation: str
    all_keys: bool
    """False where the queries attend to other keys too, so that the rows shown need not add up to 1."""


def attention_map(model: Model, params: Any, task: Task, source: str, answer_ids: np.ndarray) -> AttentionMap:
    """Compute the attention weights for a source and the answer that the model gave.

    Args:
        answer_ids: M, up to and including the end token.

    Raises:
        UserError: the model has two stacks and no cross-attention.
    """
    plain = build(dataclasses.replace(model.config, kernels="plain"))  # fused kernels do not compute the weights
    view = task.attention_view(source, answer_ids)
    batch = {key: np.asarray(value, np.int32)[None] for key, value in view.batch.items()}
    outputs = jax.jit(lambda params, batch: plain.apply(params, batch, capture=(view.activation,)))(params, batch)
    whole_LNTS = np.asarray(outputs["captured"][view.activation])[:, 0]
    weights_LNTS = whole_LNTS[:, :, view.rows, view.columns]
    queries = task.token_labels(view.queries, task.tokenizers.target)
    keys = task.token_labels(view.keys, task.tokenizers.source)
    return AttentionMap(weights_LNTS, queries, keys, view.activation, weights_LNTS.shape[3] == whole_LNTS.shape[3])
