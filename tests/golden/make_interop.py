"""Makes interop_*.npz: tiny random checkpoints of Hugging Face's families, and what `transformers` computes from them.

    python tests/golden/make_interop.py          needs torch and transformers (`make test-peers` installs them)

Entries: `config` and `generation`, the JSON of both files as bytes; `tensor.NAME`, those of model.safetensors, in
multiples of 1/64; `source`, `source_lengths`, `target`, the inputs that the architecture has; `result`, the logits, or
the last hidden states of a model without a head, computed in float64 (T5Gemma: float32); `greedy` and `beam`, the new
tokens of `generate` (a beam of 3, length penalty 0.7) after the first three tokens of `target`, or after the decoder's
start token. Sizes are odd and differ from each other, and heads are grouped where the family has that.

`tests/interop` compares our code with the files, `tests/peers/test_interop.py` both with a fresh run.
"""

import json
import pathlib
import sys
import tempfile
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

if __name__ == "__main__":  # run as a script, not imported by a test
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.golden.files import FOLDER, Record, save

V, P, B, S, T, STEPS = 23, 19, 3, 11, 7, 6
LENGTHS_B = (S, 4, 1)

GPT2 = {"vocab_size": V, "n_positions": P, "n_embd": 12, "n_inner": 20, "n_layer": 2, "n_head": 3}
GPT2 |= {"bos_token_id": 1, "eos_token_id": 5, "pad_token_id": 0}
BERT = {
    "vocab_size": V,
    "max_position_embeddings": P,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "pad_token_id": 0,
}
MARIAN = {
    "vocab_size": V,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": P,
    "pad_token_id": 22,
    "decoder_start_token_id": 22,
    "eos_token_id": 5,
    "forced_eos_token_id": 5,
    "activation_function": "swish",
    "scale_embedding": True,
}
T5 = {
    "vocab_size": V,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 20,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "decoder_start_token_id": 0,
    "eos_token_id": 5,
}
LLAMA = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 5,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
SLIDES = {"num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
GEMMA = {
    "vocab_size": V,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "query_pre_attn_scalar": 5,
    "sliding_window": 3,
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 4.0,
    "eos_token_id": 5,
}
MODERNBERT = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "local_attention": 4,
    "pad_token_id": 0,
    "eos_token_id": 5,
    "bos_token_id": 2,
    "cls_token_id": 2,
    "sep_token_id": 5,
}


def _of(name: str, settings: dict[str, Any], **more: Any) -> Callable[[ModuleType], Any]:
    """Return a function from transformers to a model of the class `name`; its config's class has the same beginning."""

    def make(hugging_face: ModuleType) -> Any:
        family = next(end for end in ("LMHeadModel", "For", "MTModel", "Model") if end in name)
        return getattr(hugging_face, name)(getattr(hugging_face, f"{name.split(family)[0]}Config")(**settings, **more))

    return make


def _t5gemma(hugging_face: ModuleType) -> Any:
    encoder, decoder = (hugging_face.T5GemmaModuleConfig(**GEMMA) for _ in range(2))
    config = hugging_face.T5GemmaConfig(encoder=encoder, decoder=decoder, vocab_size=V)
    return hugging_face.T5GemmaForConditionalGeneration(config)


CASES: dict[str, Callable[[ModuleType], Any]] = {
    "gpt2": _of("GPT2LMHeadModel", GPT2),
    "gpt2_bare": _of("GPT2Model", GPT2),
    "bert": _of("BertForMaskedLM", BERT),
    "bert_classes": _of("BertForSequenceClassification", BERT, num_labels=5),
    "bert_bare": _of("BertModel", BERT),
    "marian": _of("MarianMTModel", MARIAN),
    "marian_apart": _of("MarianMTModel", MARIAN, share_encoder_decoder_embeddings=False),
    "t5": _of("T5ForConditionalGeneration", T5),
    "t5_gated": _of("T5ForConditionalGeneration", T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "llama": _of("LlamaForCausalLM", LLAMA),
    "llama_llama3": _of("LlamaForCausalLM", LLAMA, head_dim=10, rope_parameters=LLAMA3),
    "llama_yarn": _of("LlamaForCausalLM", LLAMA, tie_word_embeddings=True, rope_parameters=YARN),
    "qwen3": _of("Qwen3ForCausalLM", LLAMA, head_dim=10),
    "qwen3_windows": _of("Qwen3ForCausalLM", LLAMA | SLIDES, head_dim=10),
    "t5gemma": _t5gemma,
    "modernbert": _of("ModernBertForMaskedLM", MODERNBERT),
    "modernbert_classes": _of(
        "ModernBertForSequenceClassification", MODERNBERT, num_labels=3, classifier_pooling="mean"
    ),
}
"""Name of a golden file, behind interop_ -> a function from transformers to a model without weights of interest."""


def model_of(name: str, hugging_face: ModuleType, seed: int = 0) -> Any:
    """Return a case's model with random parameters, multiples of 1/64, of which those over few inputs are not small."""
    import torch

    random, model = np.random.default_rng(seed), CASES[name](hugging_face).eval()
    buffers = [(name, x) for name, x in model.named_buffers() if name == "final_logits_bias"]
    for own, x in [*model.named_parameters(), *buffers]:
        if "embed_positions" in own:  # sinusoids
            continue
        centre = 1.0 if x.ndim == 1 and own.endswith("weight") and "emma" not in type(model).__name__ else 0.0
        values = centre + random.standard_normal(x.shape) * (0.25 if x.ndim == 1 else 0.3)
        x.data = torch.from_numpy((np.round(values * 64) / 64).astype(np.float32))
    model.tie_weights()
    return model


def inputs_of(model: Any, seed: int = 1) -> dict[str, np.ndarray]:
    """Return the inputs of a model, by our names."""
    random = np.random.default_rng(seed)
    source, target = (random.integers(6, V - 1, size=(B, length)).astype(np.int32) for length in (S, T))
    read = {"source": source, "source_lengths": np.array(LENGTHS_B, np.int32), "target": target}
    if model.config.is_encoder_decoder:
        return read
    encoder = hasattr(model, "bert") or type(model).__name__.startswith(("Bert", "ModernBert"))
    return {name: x for name, x in read.items() if encoder == name.startswith("source")}


def result_of(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the logits, or the last hidden states of a model without a head."""
    import torch

    ids = {name: torch.from_numpy(x).long() for name, x in inputs.items() if name in ("source", "target")}
    seen = np.arange(S)[None] < np.array(LENGTHS_B)[:, None]
    of_source = {"attention_mask": torch.from_numpy(seen).long()} if "source" in ids else {}
    both = {"decoder_input_ids": ids["target"], "use_cache": False} if len(ids) == 2 else {}
    with torch.no_grad():
        out = model(input_ids=ids.get("source", ids.get("target")), **of_source, **both)
    return (out.logits if "logits" in out else out.last_hidden_state).numpy()


def generates(model: Any) -> bool:
    """Return whether a model writes tokens."""
    return model.can_generate()


def generated(model: Any, inputs: dict[str, np.ndarray], **settings: Any) -> np.ndarray:
    """Return the new tokens of `generate`, B STEPS, -1 behind the end token."""
    import torch

    ids = {name: torch.from_numpy(x).long() for name, x in inputs.items()}
    if "source" in ids:
        seen = np.arange(S)[None] < np.array(LENGTHS_B)[:, None]
        prompt, read = 1, {"input_ids": ids["source"], "attention_mask": torch.from_numpy(seen).long()}
    else:
        prompt, read = 3, {"input_ids": ids["target"][:, :3], "attention_mask": torch.ones(B, 3).long()}
    tokens = model.generate(**read, do_sample=False, max_new_tokens=STEPS, **settings).numpy()[:, prompt:]
    full = np.full((B, STEPS), -1)
    full[:, : tokens.shape[1]] = tokens
    ended = np.cumsum(full == 5, axis=1) - (full == 5) > 0
    return np.where(ended, -1, full).astype(np.int32)


BEAM = {"num_beams": 3, "length_penalty": 0.7}


def as_codes(value: Any) -> np.ndarray:
    """Return JSON as an array of its bytes."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)


def record_of(name: str, hugging_face: ModuleType) -> Record:
    """Return the contents of a golden file."""
    from safetensors.numpy import load_file

    model = model_of(name, hugging_face)
    inputs = inputs_of(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = pathlib.Path(folder)
        tensors = load_file(path / "model.safetensors")
        config = json.loads((path / "config.json").read_text())
        own = path / "generation_config.json"
        generation = json.loads(own.read_text()) if own.exists() else {}
    record = {"config": as_codes(config), "generation": as_codes(generation), **inputs}
    if generates(model):
        record |= {"greedy": generated(model, inputs), "beam": generated(model, inputs, **BEAM)}
    # T5Gemma's softmax is in float32 whatever its type, and a mask of float64 is NaN there where no key is seen.
    model = model if "T5Gemma" in type(model).__name__ else model.double()
    result = result_of(model, inputs).astype(np.float32)
    return {**record, "result": result, **{f"tensor.{own}": x for own, x in sorted(tensors.items())}}


if __name__ == "__main__":
    import transformers

    for case in CASES:
        save(FOLDER / f"interop_{case}.npz", record_of(case, transformers))
