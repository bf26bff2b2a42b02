"""ModernBERT, Warner et al. 2024: an encoder with rotary positions, gated feed-forwards and alternating windows.

Its first layer has no norm before attention, since the embedding is normalised. Windows and bases of the rotary
positions are those of the layer's type; `local_attention` counts both sides of a token.
"""

from collections.abc import Mapping
from typing import Any

from transformer.errors import problem
from transformer.interop.entries import Config, Copy, Fixed, Joint, Rates, Settings, Unread, entry, refused
from transformer.interop.families.activations import GATED
from transformer.interop.families.rope import base_of, scaling
from transformer.interop.families.windows import FULL, SLIDING, layer_types, types_of, windows
from transformer.interop.family import Family, Tensor

BLOCK, OURS = "model.layers.*", "encoder.blocks"
BIASES = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")
BASES = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}
"""Type of a layer -> the entry of its base in earlier versions, and its default."""


def _layers(config: Config) -> Settings:
    layers = entry(config, "num_hidden_layers")
    every = config.get("global_attn_every_n_layers", 3)
    types = layer_types(config, layers, [SLIDING if i % every else FULL for i in range(layers)])
    found = config.get("rope_parameters") or {}
    bases = {}
    for kind, (name, default) in BASES.items():
        own = found.get(kind) or {}
        if scaling(own, config)["position"] != "rotary":
            raise refused(f"rope_type of {kind}", own.get("rope_type"), "default")
        bases[kind] = base_of(own, config, name, default)
    per_layer = tuple(bases[kind] for kind in types)
    return {
        "window": windows(types, config.get("local_attention", 128) // 2 + 1),
        "rotary_base": per_layer[0] if len(set(per_layer)) == 1 else per_layer,
    }


def _types(settings: Mapping[str, Any]) -> dict[str, Any]:
    layers, bases = settings["num_layers"], settings["rotary_base"]
    types, size = types_of(settings["window"], layers)
    bases = bases if isinstance(bases, tuple) else (bases,) * layers
    by_type = dict(zip(types, bases, strict=False))
    written = {name: by_type.get(kind, default) for kind, (name, default) in BASES.items()}
    return {"layer_types": types, "local_attention": 128 if size is None else 2 * (size - 1), **written}


def _biases(config: Config) -> Settings:
    has = {name: bool(config.get(name)) for name in BIASES}
    if len(set(has.values())) > 1:
        got = ", ".join(f"{name} {value}" for name, value in has.items())
        raise problem("config.json: some parts have biases and others none", got=got, expected="all, or none")
    return {"bias": has["attention_bias"]}


def _bias(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(BIASES, settings["bias"])


def _activation(config: Config) -> Settings:
    kind = config.get("hidden_activation", "gelu")
    if kind not in GATED:
        raise refused("hidden_activation", kind, ", ".join(GATED))
    if GATED.get(config.get("classifier_activation", "gelu")) != GATED[kind]:
        raise refused(
            "classifier_activation", config.get("classifier_activation", "gelu"), f"that of the layers, {kind}"
        )
    return {"activation": GATED[kind]}


def _kinds(settings: Mapping[str, Any]) -> dict[str, Any]:
    found = [name for name, own in GATED.items() if own == settings["activation"]]
    return dict.fromkeys(("hidden_activation", "classifier_activation"), found[0]) if found else {}


MODERNBERT = Family(
    architectures={
        "ModernBertForMaskedLM": "tokens",
        "ModernBertForSequenceClassification": "classes",
        "ModernBertModel": None,
    },
    constants={
        "architecture": "encoder_only",
        "position": "rotary",
        "norm": "layer",
        "norm_placement": "pre",
        "embedding.scale": False,
        "embedding.norm": True,
        "embedding.first_norm": False,
        "tie_embeddings": True,
        "token_head.transform": "norm",
    },
    classes={"class_head.transform": "norm"},
    entries=(
        Copy("vocab_size", "vocab_size"),
        Copy("hidden_size", "width"),
        Copy("num_hidden_layers", "num_layers"),
        Copy("num_attention_heads", "num_heads"),
        Copy("intermediate_size", "feed_forward_width"),
        Copy("max_position_embeddings", "max_length", 8192),
        Copy("norm_eps", "norm_epsilon", 1e-5, kind=float),
        Copy("decoder_bias", "token_head.bias", True, kind=bool),
        Copy("tie_word_embeddings", "token_head.tied", True, kind=bool),
        Copy("classifier_pooling", "class_head.reads", "cls", {"cls": "first", "mean": "mean"}),
        Joint(("hidden_activation", "classifier_activation"), _activation, _kinds),
        Joint(BIASES, _biases, _bias),
        Joint(
            (
                *("layer_types", "local_attention", "rope_parameters", "global_attn_every_n_layers"),
                *("global_rope_theta", "local_rope_theta"),
            ),
            _layers,
            _types,
        ),
        Fixed("position_embedding_type", "absolute"),
        Rates("attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"),
        Unread("deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index", "reference_compile"),
        Unread("repad_logits_with_grad", "layer_norm_eps"),
    ),
    names={
        "embedding": "model.embeddings.tok_embeddings",
        "input.norm": "model.embeddings.norm",
        **{
            f"{OURS}.self.{name}": Tensor(f"{BLOCK}.attn.Wqkv", part=(i, 3))
            for i, name in enumerate(("query", "key", "value"))
        },
        f"{OURS}.self.output": f"{BLOCK}.attn.Wo",
        f"{OURS}.self_norm": Tensor(f"{BLOCK}.attn_norm", first_layer=1),
        f"{OURS}.feed_forward.gate": Tensor(f"{BLOCK}.mlp.Wi", part=(0, 2)),
        f"{OURS}.feed_forward.up": Tensor(f"{BLOCK}.mlp.Wi", part=(1, 2)),
        f"{OURS}.feed_forward.down": f"{BLOCK}.mlp.Wo",
        f"{OURS}.feed_forward_norm": f"{BLOCK}.mlp_norm",
        "encoder.final_norm": "model.final_norm",
        "head.transform.dense": "head.dense",
        "head.transform.norm": "head.norm",
        "head.kernel": Tensor("decoder.weight"),
        "head.bias": Tensor("decoder.bias"),
        "class_head.transform.dense": "head.dense",
        "class_head.transform.norm": "head.norm",
        "class_head": "classifier",
    },
    prefix="model.",
    copies={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    of_other_heads=("head.*", "decoder.*", "classifier.*"),
)
