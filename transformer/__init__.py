"""Attention and Transformers in JAX: pure functions in `ops`, shells of parameters in `nn`, models behind `build`."""

from transformer.errors import UserError
from transformer.models.build import Model, build
from transformer.models.config import ModelConfig

__all__ = ["Model", "ModelConfig", "UserError", "build"]
