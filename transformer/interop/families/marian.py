"""Marian, Junczys-Dowmunt et al. 2018: the Transformer of 2017, with one norm after each sublayer and sinusoids."""

from collections.abc import Mapping
from typing import Any

from transformer.errors import problem
from transformer.interop.entries import Config, Copy, Fixed, Joint, Rates, Settings, Unread, entry
from transformer.interop.families.activations import PLAIN
from transformer.interop.family import Family, Tensor, attention


def same_on_both_sides(name: str, sides: tuple[str, str], setting: str) -> Joint:
    """Return the row of a size that the entries of encoder and decoder must share.

    >>> same_on_both_sides("heads", ("a", "b"), "num_heads").read({"a": 3, "b": 3})
    {'num_heads': 3}
    """

    def read(config: Config) -> Settings:
        found = [entry(config, side) for side in sides]
        if found[0] != found[1]:
            got = ", ".join(f"{side} {size}" for side, size in zip(sides, found, strict=True))
            raise problem(
                f"config.json: encoder and decoder have other {name}", got=got, expected="one number for both"
            )
        return {setting: found[0]}

    def write(settings: Mapping[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(sides, settings[setting])

    return Joint(sides, read, write)


def _vocabulary(config: Config) -> Settings:
    size = entry(config, "vocab_size")
    if config.get("decoder_vocab_size", size) not in (size, None):
        got = f"vocab_size {size}, decoder_vocab_size {config['decoder_vocab_size']}"
        raise problem("config.json: source and target have other vocabularies", got=got, expected="one size for both")
    return {"vocab_size": size}


def _both(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(("vocab_size", "decoder_vocab_size"), settings["vocab_size"])


def _stack(side: str, sublayers: Mapping[str, str]) -> dict[str, str | Tensor]:
    theirs, ours = f"model.{side}.layers.*", f"{side}.blocks"
    names: dict[str, str | Tensor] = {}
    for name, own in sublayers.items():
        names |= attention(f"{ours}.{name}", f"{theirs}.{own}", "q_proj", "k_proj", "v_proj", "out_proj")
        names[f"{ours}.{name}_norm"] = f"{theirs}.{own}_layer_norm"
    return {
        **names,
        f"{ours}.feed_forward.up": f"{theirs}.fc1",
        f"{ours}.feed_forward.down": f"{theirs}.fc2",
        f"{ours}.feed_forward_norm": f"{theirs}.final_layer_norm",
    }


MARIAN = Family(
    architectures={"MarianMTModel": "tokens"},
    constants={
        "architecture": "seq2seq",
        "position": "sinusoidal",
        "norm": "layer",
        "norm_placement": "post",
        "norm_epsilon": 1e-5,
        "token_head.tied": True,
    },
    entries=(
        Joint(("vocab_size", "decoder_vocab_size"), _vocabulary, _both),
        Copy("d_model", "width"),
        Copy("encoder_layers", "num_encoder_layers"),
        Copy("decoder_layers", "num_decoder_layers"),
        same_on_both_sides("heads", ("encoder_attention_heads", "decoder_attention_heads"), "num_heads"),
        same_on_both_sides("feed-forward widths", ("encoder_ffn_dim", "decoder_ffn_dim"), "feed_forward_width"),
        Copy("max_position_embeddings", "max_length", 1024),
        Copy("activation_function", "activation", "gelu", PLAIN),
        Copy("scale_embedding", "embedding.scale", False, kind=bool),
        Copy("share_encoder_decoder_embeddings", "tie_embeddings", True, kind=bool),
        Fixed("tie_word_embeddings", True),
        Fixed("static_position_embeddings", True),
        Fixed("normalize_before", False),
        Fixed("normalize_embedding", False),
        Fixed("add_final_layer_norm", False),
        Fixed("is_decoder", False),
        Rates("dropout", "attention_dropout", "activation_dropout"),
        Unread("encoder_layerdrop", "decoder_layerdrop", "num_hidden_layers", "classif_dropout", "add_bias_logits"),
        Unread("extra_pos_embeddings", "force_bos_token_to_be_generated"),
    ),
    names={
        "embedding": "model.shared",
        "source_embedding": "model.encoder.embed_tokens",
        "target_embedding": "model.decoder.embed_tokens",
        **_stack("encoder", {"self": "self_attn"}),
        **_stack("decoder", {"self": "self_attn", "cross": "encoder_attn"}),
        "head.bias": Tensor("final_logits_bias", leading=1),
    },
    copies={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.decoder.embed_tokens.weight",
        "model.shared.weight": "model.encoder.embed_tokens.weight",
    },
    of_file={"token_head.bias": lambda stored: "final_logits_bias" in stored.stored},
    buffers=("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"),
)
