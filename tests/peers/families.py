"""Tiny Hugging Face models with random parameters in float64, and the same models as ours, through interop.

Nothing is downloaded: the models are those of the golden files, `tests.golden.make_interop.CASES`.
"""

import functools
import tempfile
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tests.golden.make_interop import CASES, V
from transformer.interop import FAMILIES, load_pretrained
from transformer.interop.described import flat
from transformer.interop.layout import places, read_array
from transformer.interop.parameters import shapes_of
from transformer.nested import nest

__all__ = ["Pair", "V", "pair"]


class Pair(NamedTuple):
    """A model of theirs, ours with the same parameters, and those."""

    theirs: Any
    model: Any
    params: dict

    def as_ours(self, state: dict[str, np.ndarray]) -> dict:
        """Return arrays by their names, such as gradients, as a tree of ours."""
        prefix = "" if next(iter(state)).startswith(self.family.prefix) else self.family.prefix
        found, nameless = places(self.family, shapes_of(self.model), flat(self.model.config))
        assert not nameless
        read = functools.partial(_of, {prefix + name: x for name, x in state.items()})
        return nest({place.path: read_array(place, read, _none) for place in found})

    @property
    def family(self) -> Any:
        return FAMILIES[self.theirs.config.model_type]


def _of(state: dict[str, np.ndarray], name: str) -> np.ndarray:
    return state[name]


def _none(path: str) -> np.ndarray:
    raise AssertionError(f"{path} has a layer without a tensor")


def pair(name: str, hugging_face: ModuleType, make_golden: ModuleType, seed: int = 0, **changes: Any) -> Pair:
    """Return one of CASES with random parameters, theirs and ours; `changes` are settings of ours."""
    theirs = make_golden.randomise(CASES[name](hugging_face).eval(), np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        loaded = load_pretrained(folder, **changes)
    return Pair(theirs, loaded.model, loaded.params)
