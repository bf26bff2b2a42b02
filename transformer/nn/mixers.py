"""Mixers: what mixes the tokens of a sequence, self-attention or another module in its place.

attention   softmax of scores, or other weights (`nn.attention`); its cache has a row for each token, or as many as
            the largest window of its layers
linear      sums of features (`nn.linear_attention`); its cache is a state of constant size

A mixer brings its cache, the activations that it records and the settings that it reads with its row. Cross-attention
is attention whatever the mixer.
"""

import dataclasses
from collections.abc import Callable, Mapping

from jax import Array

from transformer.errors import problem, unknown
from transformer.nn.module_rows import ModuleRow
from transformer.nn.names import AXES, STACKS, SUBLAYER_SITES
from transformer.nn.settings import ModelSettings
from transformer.ops import cache
from transformer.ops.linear_attention import empty_state
from transformer.tables import Table

OF_ATTENTION = ("num_heads", "num_kv_heads", "head_width", "score", "position", "window", "kernels", "attention")
"""Settings of self-attention, of which a mixer reads those that its row lists; `attention` is a section."""


@dataclasses.dataclass(frozen=True, eq=False)
class Mixer(ModuleRow):
    """A row of MIXERS: what mixes the tokens of a sequence, in the place of self-attention.

    The module has the attribute `config` and is called with (x_BTD, inputs), where inputs are a
    `transformer.nn.attention.AttentionInputs`; it returns B T D, which it records as "output", and its cache: that of
    `inputs.cache` after these tokens. Where there is none, what it returns as the cache is not read.

    Attributes:
        empty_cache: (config, batch, length) -> the cache before the first token of `length`, a dict of arrays with a
            leading B; a row with settings also takes `settings`. An entry `key` has S as its last axis but one. None:
            it cannot decode.
        sites: activations that it records -> their axes, without L.
        reads: those of OF_ATTENTION, or settings of their section such as "attention.mask", that it reads.
        stacks: stacks that it can stand in; one that looks back alone cannot stand in an encoder.
        keeps_window: True where its cache has a row for each token, and it reads `AttentionInputs.key_index_BS`: where
            all layers have a window, the cache is as long as the largest.
    """

    empty_cache: Callable[..., Mapping[str, Array]] | None = None
    sites: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"output": AXES["output"]})
    reads: tuple[str, ...] = ()
    stacks: tuple[str, ...] = STACKS
    keeps_window: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for given, what, known in (
            ([name.partition(".")[0] for name in self.reads], "setting that a mixer reads", OF_ATTENTION),
            (self.stacks, "stack of a mixer", STACKS),
        ):
            for name in given:
                if name not in known:
                    raise unknown(what, str(name), known)

    def reads_setting(self, name: str) -> bool:
        """Return whether it reads a setting, or a section as a whole."""
        return any(f"{name}.".startswith(f"{own}.") for own in self.reads)

    def cache(self, config: ModelSettings, batch: int, length: int) -> dict[str, Array]:
        """Return its cache before the first token. Raises a UserError where it has none."""
        if self.empty_cache is None:
            what = f"mixer {str(config.mixer)!r} cannot decode"
            raise problem(what, got="no empty_cache", do="Give its row an empty_cache, or train and score alone.")
        return dict(self.empty_cache(config, batch, length, **self.own))


def _rows_of_keys(config: ModelSettings, batch: int, length: int) -> dict[str, Array]:
    """Return attention's cache: a row of keys and values for each token."""
    return cache.empty(batch, length, config.num_kv_heads, config.head_width, config.compute_dtype)


def _constant_state(config: ModelSettings, batch: int, length: int) -> dict[str, Array]:
    """Return the cache of linear attention: sums, whatever the length."""
    return empty_state(batch, config.num_kv_heads, config.head_width)


ROWS: dict[str, Mixer] = {
    "attention": Mixer(
        "transformer.nn.attention:SelfAttention",
        empty_cache=_rows_of_keys,
        sites={name: AXES[name] for name in SUBLAYER_SITES},
        reads=OF_ATTENTION,
        keeps_window=True,
        by_linear=True,
    ),
    "linear": Mixer(
        "transformer.nn.linear_attention:LinearAttention",
        empty_cache=_constant_state,
        sites={name: AXES[name] for name in ("query", "key", "value", "head", "output")},
        reads=("num_heads", "num_kv_heads", "head_width"),
        by_linear=True,
    ),
}

MIXERS = Table(
    "mixer",
    Mixer,
    ROWS,
    make=Mixer,
    expected="a class of a Linen module (config) that is called with (x_BTD, inputs), or a transformer.nn.mixers.Mixer",
)
