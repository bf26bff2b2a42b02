"""The table of families: `model_type` of a config.json -> its names and entries."""

from transformer.interop.families.bert import BERT
from transformer.interop.families.gpt2 import GPT2
from transformer.interop.families.llama import LLAMA, QWEN3
from transformer.interop.families.marian import MARIAN
from transformer.interop.families.modernbert import MODERNBERT
from transformer.interop.families.t5 import T5
from transformer.interop.families.t5gemma import T5GEMMA
from transformer.interop.family import Family

FAMILIES: dict[str, Family] = {
    "gpt2": GPT2,
    "bert": BERT,
    "marian": MARIAN,
    "t5": T5,
    "llama": LLAMA,
    "qwen3": QWEN3,
    "t5gemma": T5GEMMA,
    "modernbert": MODERNBERT,
}
"""model_type -> family."""
