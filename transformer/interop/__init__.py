"""Checkpoints of Hugging Face in and out, as `config.json`, safetensors and `tokenizer.json`; needs extra `interop`."""

from transformer.interop.families import FAMILIES
from transformer.interop.generation import Generation
from transformer.interop.pretrained import Pretrained, load_pretrained, save_pretrained

__all__ = ["FAMILIES", "Generation", "Pretrained", "load_pretrained", "save_pretrained"]
