"""Tiny Hugging Face models with random parameters, built from config objects, and the same models as ours.

Nothing is downloaded. Hugging Face's compute in float64.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import transformer
from tests.golden.torch_layout import as_jax
from tests.peers import hugging_face_layout as layout

V, P, D, F, L, N = 23, 17, 12, 20, 2, 3


@dataclasses.dataclass(frozen=True)
class Family:
    """One of theirs and how it reads as one of ours.

    `make`: (transformers) -> the model; `config`: ours; `read`: their names -> arrays, as our tree.
    """

    make: Callable[[ModuleType], Any]
    config: dict[str, Any]
    read: Callable[[dict[str, np.ndarray]], dict]

    def pair(
        self, hugging_face: ModuleType, make_golden: ModuleType, seed: int = 0, **changes: Any
    ) -> tuple[Any, Any, dict]:
        """(their model, our model with `changes` to its config, our parameters)."""
        theirs = make_golden.randomise(self.make(hugging_face).eval(), np.random.default_rng(seed))
        return theirs, transformer.build(self.config | changes), as_jax(self.read(make_golden.state_of(theirs)))


def gpt2(hugging_face: ModuleType) -> Any:
    sizes = {"vocab_size": V, "n_positions": P, "n_embd": D, "n_inner": F, "n_layer": L, "n_head": N}
    return hugging_face.GPT2LMHeadModel(hugging_face.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def bert(hugging_face: ModuleType) -> Any:
    sizes = {
        "vocab_size": V,
        "max_position_embeddings": P,
        "hidden_size": D,
        "intermediate_size": F,
        "num_hidden_layers": L,
        "num_attention_heads": N,
        "type_vocab_size": 2,
    }
    return hugging_face.BertModel(hugging_face.BertConfig(**sizes), add_pooling_layer=False)


def llama(hugging_face: ModuleType) -> Any:
    sizes = {
        "vocab_size": V,
        "max_position_embeddings": P,
        "hidden_size": 4 * 6,
        "intermediate_size": F,
        "num_hidden_layers": L,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-4,
        "tie_word_embeddings": False,
        "attention_bias": False,
    }
    return hugging_face.LlamaForCausalLM(hugging_face.LlamaConfig(**sizes))


COMMON = {"vocab_size": V, "feed_forward_width": F, "num_layers": L}

FAMILIES = {
    "gpt2": Family(
        gpt2,
        COMMON
        | {
            "architecture": "decoder_only",
            "width": D,
            "num_heads": N,
            "max_length": P,
            "position": "learned",
            "norm_placement": "pre",
            "norm_epsilon": 1e-5,
            "activation": "gelu_tanh",
            "tie_embeddings": True,
        },
        lambda state: layout.gpt2(state, N),
    ),
    "bert": Family(
        bert,
        COMMON
        | {
            "architecture": "encoder_only",
            "width": D,
            "num_heads": N,
            "max_length": P,
            "position": "learned",
            "norm_placement": "post",
            "norm_epsilon": 1e-12,
            "activation": "gelu",
            "embedding": {"types": 2, "norm": True},
        },
        lambda state: layout.bert(state, N),
    ),
    "llama": Family(
        llama,
        COMMON
        | {
            "architecture": "decoder_only",
            "width": 4 * 6,
            "num_heads": 4,
            "num_kv_heads": 2,
            "position": "rotary",
            "norm": "rms",
            "norm_placement": "pre",
            "norm_epsilon": 1e-4,
            "activation": "swiglu",
            "bias": False,
            "tie_embeddings": False,
        },
        lambda state: layout.llama(state, 4, 2),
    ),
}
