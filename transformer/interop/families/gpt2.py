"""GPT-2, Radford et al. 2019. Its linear maps are inputs x outputs (Conv1D), and query, key and value are one."""

from collections.abc import Mapping
from typing import Any

from transformer.interop.entries import Config, Copy, Fixed, Joint, Rates, Settings, Unread, entry
from transformer.interop.families.activations import PLAIN
from transformer.interop.family import Family, Tensor

BLOCK, OURS = "transformer.h.*", "decoder.blocks"


def _width(config: Config) -> Settings:
    return {"feed_forward_width": config.get("n_inner") or 4 * entry(config, "n_embd")}


def _inner(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"n_inner": settings["feed_forward_width"]}


GPT2 = Family(
    architectures={"GPT2LMHeadModel": "tokens", "GPT2Model": None},
    constants={
        "architecture": "decoder_only",
        "position": "learned",
        "norm": "layer",
        "norm_placement": "pre",
        "embedding.scale": False,
        "tie_embeddings": True,
    },
    entries=(
        Copy("vocab_size", "vocab_size"),
        Copy("n_positions", "max_length"),
        Copy("n_embd", "width"),
        Copy("n_layer", "num_layers"),
        Copy("n_head", "num_heads"),
        Joint(("n_inner",), _width, _inner),
        Copy("activation_function", "activation", "gelu_new", PLAIN),
        Copy("layer_norm_epsilon", "norm_epsilon", 1e-5, kind=float),
        Copy("tie_word_embeddings", "token_head.tied", True, kind=bool),
        Fixed("scale_attn_weights", True),
        Fixed("scale_attn_by_inverse_layer_idx", False),
        Fixed("add_cross_attention", False),
        Rates("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        Unread("reorder_and_upcast_attn", "n_ctx", "summary_type", "summary_use_proj", "summary_activation"),
        Unread("summary_proj_to_labels", "summary_first_dropout"),
    ),
    names={
        "embedding": "transformer.wte",
        "input.positions": "transformer.wpe",
        f"{OURS}.self_norm": f"{BLOCK}.ln_1",
        **{
            f"{OURS}.self.{name}": Tensor(f"{BLOCK}.attn.c_attn", as_ours=True, part=(i, 3))
            for i, name in enumerate(("query", "key", "value"))
        },
        f"{OURS}.self.output": Tensor(f"{BLOCK}.attn.c_proj", as_ours=True),
        f"{OURS}.feed_forward_norm": f"{BLOCK}.ln_2",
        f"{OURS}.feed_forward.up": Tensor(f"{BLOCK}.mlp.c_fc", as_ours=True),
        f"{OURS}.feed_forward.down": Tensor(f"{BLOCK}.mlp.c_proj", as_ours=True),
        "decoder.final_norm": "transformer.ln_f",
        "head": "lm_head",
    },
    prefix="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
    buffers=("*.attn.bias", "*.attn.masked_bias"),
)
