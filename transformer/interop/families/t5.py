"""T5, Raffel et al. 2020, and T5 v1.1, Shazeer 2020: buckets of distances that a stack's layers share, no biases.

The scores are not divided by sqrt(H). A v1.0 model has tied embeddings and divides the logits by sqrt(D); a v1.1 model
has a gated feed-forward, and in general an output kernel of its own, which its file has and its config does not name.
"""

from collections.abc import Mapping
from typing import Any

from transformer.interop.entries import Config, Copy, Fixed, Joint, Rates, Settings, Unread, entry, refused
from transformer.interop.family import Family, Tensor, attention
from transformer.interop.tensors import Tensors
from transformer.nn.feed_forward import ACTIVATIONS

KINDS = {
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "gated-gelu": "geglu_tanh",
    "gated-silu": "swiglu",
}
"""feed_forward_proj -> activation."""


def _activation(config: Config) -> Settings:
    kind = config.get("feed_forward_proj", "relu")
    if kind not in KINDS:
        raise refused("feed_forward_proj", kind, ", ".join(KINDS))
    return {"activation": KINDS[kind]}


def _kind(settings: Mapping[str, Any]) -> dict[str, Any]:
    found = [name for name, own in KINDS.items() if own == settings["activation"]]
    return {"feed_forward_proj": found[0]} if found else {}


def _layers(config: Config) -> Settings:
    layers = entry(config, "num_layers")
    return {"num_encoder_layers": layers, "num_decoder_layers": config.get("num_decoder_layers") or layers}


def _counts(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"num_layers": settings["num_encoder_layers"], "num_decoder_layers": settings["num_decoder_layers"]}


def _scale(config: Config) -> Settings:
    scaled = config.get("tie_word_embeddings") is not False and config.get("scale_decoder_outputs") is not False
    return {"token_head.scale": entry(config, "d_model") ** -0.5 if scaled else 1.0}


def _scaled(settings: Mapping[str, Any]) -> dict[str, Any]:
    scaled = settings["token_head.scale"] != 1.0
    return {"tie_word_embeddings": scaled, "scale_decoder_outputs": scaled}


def _is_tied(stored: Tensors) -> bool:
    return "lm_head.weight" not in stored.stored or stored.equal("lm_head.weight", "shared.weight")


def _names(settings: Mapping[str, Any]) -> dict[str, str | Tensor]:
    gated = ACTIVATIONS.find(settings["activation"]).gated
    up = {"gate": "wi_0", "up": "wi_1"} if gated else {"up": "wi"}
    return {
        "embedding": "shared",
        **_stack("encoder", {"self": "SelfAttention"}, up),
        **_stack("decoder", {"self": "SelfAttention", "cross": "EncDecAttention"}, up),
        "head": "lm_head",
    }


def _stack(side: str, sublayers: Mapping[str, str], up: Mapping[str, str]) -> dict[str, str | Tensor]:
    theirs, ours = f"{side}.block.*.layer", f"{side}.blocks"
    names: dict[str, str | Tensor] = {}
    for i, (name, own) in enumerate(sublayers.items()):
        names |= attention(f"{ours}.{name}", f"{theirs}.{i}.{own}", "q", "k", "v", "o")
        names[f"{ours}.{name}_norm"] = f"{theirs}.{i}.layer_norm"
    last = f"{theirs}.{len(sublayers)}"
    bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return {
        **names,
        **{f"{ours}.feed_forward.{name}": f"{last}.DenseReluDense.{own}" for name, own in up.items()},
        f"{ours}.feed_forward.down": f"{last}.DenseReluDense.wo",
        f"{ours}.feed_forward_norm": f"{last}.layer_norm",
        f"{side}.bias.relative.table": Tensor(bias),
        f"{side}.final_norm": f"{side}.final_layer_norm",
    }


T5 = Family(
    architectures={"T5ForConditionalGeneration": "tokens"},
    constants={
        "architecture": "seq2seq",
        "position": "relative",
        "score": "dot",
        "norm": "rms",
        "norm_placement": "pre",
        "bias": False,
        "embedding.scale": False,
        "tie_embeddings": True,
    },
    entries=(
        Copy("vocab_size", "vocab_size"),
        Copy("d_model", "width"),
        Joint(("num_layers", "num_decoder_layers"), _layers, _counts),
        Copy("num_heads", "num_heads"),
        Copy("d_kv", "head_width"),
        Copy("d_ff", "feed_forward_width"),
        Copy("relative_attention_num_buckets", "relative.buckets", 32),
        Copy("relative_attention_max_distance", "relative.max_distance", 128),
        Copy("layer_norm_epsilon", "norm_epsilon", 1e-6, kind=float),
        Joint(("feed_forward_proj",), _activation, _kind),
        Joint(("tie_word_embeddings", "scale_decoder_outputs"), _scale, _scaled),
        Fixed("is_decoder", False),
        Rates("dropout_rate"),
        Unread("dense_act_fn", "is_gated_act", "n_positions"),
    ),
    names=_names,
    copies={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
    },
    buffers=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
    of_file={"token_head.tied": _is_tied},
)
