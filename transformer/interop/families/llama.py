"""Llama, Touvron et al. 2023, with grouped heads and scaled rotary positions; Qwen3, which normalises queries and keys.

A head may be of another width than D / N.
"""

from collections.abc import Mapping
from typing import Any

from transformer.errors import problem
from transformer.interop.entries import Config, Copy, Fixed, Joint, Rates, Settings, Unread, entry
from transformer.interop.families.activations import GATED
from transformer.interop.families.rope import ROPE
from transformer.interop.families.windows import FULL, SLIDING, layer_types, types_of, windows
from transformer.interop.family import Family, Tensor, attention

BLOCK, OURS = "model.layers.*", "decoder.blocks"


def _head_width(config: Config) -> Settings:
    given = config.get("head_dim")
    return {"head_width": given or entry(config, "hidden_size") // entry(config, "num_attention_heads")}


def _head_dim(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"head_dim": settings["head_width"]}


def _kv_heads(config: Config) -> Settings:
    return {"num_kv_heads": config.get("num_key_value_heads") or entry(config, "num_attention_heads")}


def _key_value_heads(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"num_key_value_heads": settings["num_kv_heads"]}


BIASES = ("attention_bias", "mlp_bias")


def _biases(config: Config) -> Settings:
    has = {name: bool(config.get(name)) for name in BIASES}
    if len(set(has.values())) > 1:
        got = ", ".join(f"{name} {value}" for name, value in has.items())
        raise problem("config.json: some linear maps have biases and others none", got=got, expected="all, or none")
    return {"bias": has["mlp_bias"]}


def _bias(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(BIASES, settings["bias"])


def _window(config: Config) -> Settings:
    layers = entry(config, "num_hidden_layers")
    slides = bool(config.get("use_sliding_window"))
    from_layer = config.get("max_window_layers", 28)
    default = [SLIDING if slides and i >= from_layer else FULL for i in range(layers)]
    types = layer_types(config, layers, default)
    return {"window": windows(types, config.get("sliding_window"))}


def _sliding(settings: Mapping[str, Any]) -> dict[str, Any]:
    types, size = types_of(settings["window"], settings["num_layers"])
    return {"layer_types": types, "sliding_window": size, "use_sliding_window": size is not None}


SIZES = (
    Copy("vocab_size", "vocab_size"),
    Copy("hidden_size", "width"),
    Copy("num_hidden_layers", "num_layers"),
    Copy("num_attention_heads", "num_heads"),
    Joint(("num_key_value_heads",), _kv_heads, _key_value_heads),
    Joint(("head_dim",), _head_width, _head_dim),
    Copy("intermediate_size", "feed_forward_width"),
    Copy("max_position_embeddings", "max_length", 2048),
    Copy("hidden_act", "activation", "silu", GATED),
    Copy("rms_norm_eps", "norm_epsilon", 1e-6, kind=float),
    Copy("tie_word_embeddings", "token_head.tied", False, kind=bool),
    ROPE,
    Rates("attention_dropout"),
)

CONSTANTS = {"architecture": "decoder_only", "norm": "rms", "norm_placement": "pre", "embedding.scale": False}

NAMES: dict[str, str | Tensor] = {
    "embedding": "model.embed_tokens",
    **attention(f"{OURS}.self", f"{BLOCK}.self_attn", "q_proj", "k_proj", "v_proj", "o_proj"),
    f"{OURS}.self_norm": f"{BLOCK}.input_layernorm",
    **{f"{OURS}.feed_forward.{name}": f"{BLOCK}.mlp.{name}_proj" for name in ("gate", "up", "down")},
    f"{OURS}.feed_forward_norm": f"{BLOCK}.post_attention_layernorm",
    "decoder.final_norm": "model.norm",
    "head": "lm_head",
}

LLAMA = Family(
    architectures={"LlamaForCausalLM": "tokens", "LlamaModel": None},
    constants=CONSTANTS,
    entries=(*SIZES, Joint(BIASES, _biases, _bias), Unread("pretraining_tp")),
    names=NAMES,
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
    buffers=("*.rotary_emb.inv_freq",),
)

QWEN3 = Family(
    architectures={"Qwen3ForCausalLM": "tokens", "Qwen3Model": None},
    constants={**CONSTANTS, "bias": False, "attention.query_key_norm": "rms"},
    entries=(
        *SIZES,
        Joint(("layer_types", "sliding_window", "use_sliding_window", "max_window_layers"), _window, _sliding),
        Fixed("attention_bias", False),
    ),
    names={
        **NAMES,
        f"{OURS}.self.query_norm": f"{BLOCK}.self_attn.q_norm",
        f"{OURS}.self.key_norm": f"{BLOCK}.self_attn.k_norm",
    },
    prefix="model.",
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
