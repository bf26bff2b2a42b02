"""Hugging Face's parameters of GPT-2, BERT and LLaMA as trees of ours; NumPy only.

GPT-2's Conv1D has its weight as inputs x outputs; the others have torch's Linear, outputs x inputs. Layers are stacked
(`stack_layers`) and their axis comes first. Every function is linear, so it reads gradients as it reads weights.
"""

import numpy as np

from tests.golden.torch_layout import State, heads, linear, norm, output, part, stack_layers


def projections(maps: dict[str, dict[str, np.ndarray]], num_heads: int, num_kv_heads: int) -> dict[str, dict]:
    """Query, key, value and output with kernels inputs x outputs -> ours, with axes of heads."""
    counts = {"query": num_heads, "key": num_kv_heads, "value": num_kv_heads}
    made = {o: {name: heads(x, counts[o]) for name, x in maps[o].items()} for o in counts}
    last = maps["output"]
    return made | {"output": output(last["kernel"], last.get("bias"), num_heads)}


def conv1d(state: State) -> dict[str, np.ndarray]:
    return {"kernel": state["weight"], "bias": state["bias"]}


def gpt2(state: State, num_heads: int) -> dict[str, dict]:
    """GPT2LMHeadModel."""
    state = part(stack_layers(state), "transformer.")
    block = part(state, "h.*.")
    joined = conv1d(part(block, "attn.c_attn."))
    split = {name: np.split(x, 3, axis=-1) for name, x in joined.items()}
    maps = {o: {name: x[i] for name, x in split.items()} for i, o in enumerate(("query", "key", "value"))} | {
        "output": conv1d(part(block, "attn.c_proj."))
    }
    feed_forward = {"up": conv1d(part(block, "mlp.c_fc.")), "down": conv1d(part(block, "mlp.c_proj."))}
    return {
        "embedding": {"table": state["wte.weight"]},
        "input": {"positions": {"table": state["wpe.weight"]}},
        "decoder": {
            "blocks": {
                "self": projections(maps, num_heads, num_heads),
                "self_norm": norm(part(block, "ln_1.")),
                "feed_forward": feed_forward,
                "feed_forward_norm": norm(part(block, "ln_2.")),
            },
            "final_norm": norm(part(state, "ln_f.")),
        },
    }


def bert(state: State, num_heads: int) -> dict[str, dict]:
    """BertModel without its pooling layer."""
    state = stack_layers(state)
    embeddings, block = part(state, "embeddings."), part(state, "encoder.layer.*.")
    maps = {o: linear(part(block, f"attention.self.{o}.")) for o in ("query", "key", "value")}
    maps["output"] = linear(part(block, "attention.output.dense."))
    return {
        "embedding": {"table": embeddings["word_embeddings.weight"]},
        "input": {
            "positions": {"table": embeddings["position_embeddings.weight"]},
            "types": {"table": embeddings["token_type_embeddings.weight"]},
            "norm": norm(part(embeddings, "LayerNorm.")),
        },
        "encoder": {
            "blocks": {
                "self": projections(maps, num_heads, num_heads),
                "self_norm": norm(part(block, "attention.output.LayerNorm.")),
                "feed_forward": {
                    "up": linear(part(block, "intermediate.dense.")),
                    "down": linear(part(block, "output.dense.")),
                },
                "feed_forward_norm": norm(part(block, "output.LayerNorm.")),
            }
        },
    }


def llama(state: State, num_heads: int, num_kv_heads: int) -> dict[str, dict]:
    """LlamaForCausalLM."""
    state = stack_layers(state)
    block = part(state, "model.layers.*.")
    owners = {"query": "q", "key": "k", "value": "v", "output": "o"}
    maps = {owner: linear(part(block, f"self_attn.{letter}_proj.")) for owner, letter in owners.items()}
    return {
        "embedding": {"table": state["model.embed_tokens.weight"]},
        "head": linear(part(state, "lm_head.")),
        "decoder": {
            "blocks": {
                "self": projections(maps, num_heads, num_kv_heads),
                "self_norm": norm(part(block, "input_layernorm.")),
                "feed_forward": {x: linear(part(block, f"mlp.{x}_proj.")) for x in ("gate", "up", "down")},
                "feed_forward_norm": norm(part(block, "post_attention_layernorm.")),
            },
            "final_norm": norm(part(state, "model.norm.")),
        },
    }
