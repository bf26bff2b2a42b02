"""T5Gemma, Zhang et al. 2025: an encoder and a decoder of Gemma 2's blocks, with cross-attention of its own.

Norms before and after each sublayer, of 1 + scale; bounds of scores and logits; alternating windows. A window of w
tokens lets the decoder see the distances below w, and the encoder those up to w.
"""

from collections.abc import Mapping
from typing import Any

from transformer.errors import problem, shorten
from transformer.interop.entries import (
    Config,
    Copy,
    Entry,
    Fixed,
    Joint,
    Rates,
    Settings,
    Unread,
    entry,
    read_all,
    write_all,
)
from transformer.interop.families.activations import GATED
from transformer.interop.families.rope import ROPE
from transformer.interop.families.windows import FULL, SLIDING, layer_types, types_of, windows
from transformer.interop.family import Family, Tensor, attention

OPTIONAL = (float, type(None))


def _score(config: Config) -> Settings:
    width = config.get("query_pre_attn_scalar", 256)
    if width == entry(config, "head_dim"):
        return {"score": "scaled_dot"}
    return {"score": "fixed_dot", "score_settings.width": float(width)}


def _scalar(settings: Mapping[str, Any]) -> dict[str, Any]:
    width = settings.get("score_settings.width") or settings["head_width"]
    return {"query_pre_attn_scalar": int(width) if width == int(width) else width}


def _window(config: Config) -> Settings:
    layers = entry(config, "num_hidden_layers")
    types = layer_types(config, layers, [FULL if i % 2 else SLIDING for i in range(layers)])
    return {"window": windows(types, config.get("sliding_window", 4096))}


def _types(settings: Mapping[str, Any]) -> dict[str, Any]:
    types, size = types_of(settings["window"], settings["num_layers"])
    return {"layer_types": types, "sliding_window": size}


SIDE: tuple[Entry, ...] = (
    Copy("vocab_size", "vocab_size"),
    Copy("hidden_size", "width"),
    Copy("num_hidden_layers", "num_layers"),
    Copy("num_attention_heads", "num_heads"),
    Copy("num_key_value_heads", "num_kv_heads"),
    Copy("head_dim", "head_width"),
    Copy("intermediate_size", "feed_forward_width"),
    Copy("max_position_embeddings", "max_length", 8192),
    Copy("hidden_activation", "activation", "gelu_pytorch_tanh", GATED),
    Copy("rms_norm_eps", "norm_epsilon", 1e-6, kind=float),
    Copy("final_logit_softcapping", "token_head.soft_cap", 30.0, kind=OPTIONAL),
    Copy("attn_logit_softcapping", "attention.soft_cap", 50.0, kind=OPTIONAL),
    Joint(("query_pre_attn_scalar",), _score, _scalar),
    Joint(("layer_types", "sliding_window"), _window, _types),
    ROPE,
    Fixed("attention_bias", False),
    Rates("attention_dropout", "dropout_rate"),
)
"""Entries of the objects `encoder` and `decoder`."""

OWN = ("is_decoder", "cross_attention_hidden_size", "tie_word_embeddings")
"""Entries of a side that follow from where it stands."""

OF_DECODER = ("token_head.soft_cap",)
"""Settings that the encoder's entries have too, and that nothing reads there."""


def _sides(config: Config) -> Settings:
    found: dict[str, Settings] = {}
    for side in ("encoder", "decoder"):
        own = entry(config, side)
        if not isinstance(own, Mapping):
            raise problem(f"config.json: {side} is no object", got=shorten(repr(own)), expected="{...}")
        found[side] = read_all(SIDE, own, OWN)
    layers = {f"num_{side}_layers": one.pop("num_layers") for side, one in found.items()}
    window = _wider(found["encoder"].pop("window"), 1), found["decoder"].pop("window")
    both = [name for name in found["decoder"] if name not in OF_DECODER]
    differing = [name for name in both if found["encoder"].get(name) != found["decoder"][name]]
    if differing:
        got = ", ".join(f"{name} {found['encoder'].get(name)} and {found['decoder'][name]}" for name in differing)
        raise problem("config.json: encoder and decoder differ", got=got, expected="the same settings, layers apart")
    return {**found["decoder"], **layers, "encoder_window": window[0], "window": window[1]}


def _wider(window: Any, by: int) -> Any:
    """Return a window whose sizes are larger by some tokens."""
    if isinstance(window, tuple):
        return tuple(_wider(size, by) for size in window)
    return None if window is None else window + by


def _both(settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {"encoder": _wider(settings["encoder_window"], -1), "decoder": settings["window"]}
    sides = {
        side: {
            "model_type": "t5_gemma_module",
            "is_decoder": side == "decoder",
            **write_all(SIDE, {**settings, "num_layers": settings[f"num_{side}_layers"], "window": window}),
        }
        for side, window in own.items()
    }
    return {**sides, "vocab_size": settings["vocab_size"]}


def _stack(side: str, sublayers: Mapping[str, str]) -> dict[str, str | Tensor]:
    theirs, ours = f"model.{side}.layers.*", f"{side}.blocks"
    names: dict[str, str | Tensor] = {}
    for name, own in sublayers.items():
        if name != "feed_forward":
            names |= attention(f"{ours}.{name}", f"{theirs}.{own}", "q_proj", "k_proj", "v_proj", "o_proj")
        names[f"{ours}.{name}_norm"] = f"{theirs}.pre_{own.replace('mlp', 'feedforward')}_layernorm"
        names[f"{ours}.{name}_after_norm"] = f"{theirs}.post_{own.replace('mlp', 'feedforward')}_layernorm"
    return {
        **names,
        **{f"{ours}.feed_forward.{name}": f"{theirs}.mlp.{name}_proj" for name in ("gate", "up", "down")},
        f"{side}.final_norm": f"model.{side}.norm",
    }


T5GEMMA = Family(
    architectures={"T5GemmaForConditionalGeneration": "tokens"},
    constants={
        "architecture": "seq2seq",
        "norm": "rms_plus_one",
        "norm_placement": "sandwich",
        "bias": False,
        "embedding.scale": True,
        "tie_embeddings": False,
    },
    entries=(
        Joint(("encoder", "decoder"), _sides, _both),
        Copy("tie_word_embeddings", "token_head.tied", True, kind=bool),
        Rates("dropout_rate", "attention_dropout", "classifier_dropout_rate"),
        Unread("vocab_size"),
    ),
    names={
        "source_embedding": "model.encoder.embed_tokens",
        "target_embedding": "model.decoder.embed_tokens",
        **_stack("encoder", {"self": "self_attn", "feed_forward": "mlp"}),
        **_stack("decoder", {"self": "self_attn", "cross": "cross_attn", "feed_forward": "mlp"}),
        "head": "lm_head.out_proj",
    },
    copies={"lm_head.out_proj.weight": "model.decoder.embed_tokens.weight"},
)
