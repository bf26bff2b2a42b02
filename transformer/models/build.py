"""`build(config)`: a model as pure functions of its parameters."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from transformer import schema
from transformer.axes import describe, has_numbers, is_integer
from transformer.errors import counted, problem, shorten
from transformer.models import faults
from transformer.models.base import Batch, ModelBase, Params, Replace
from transformer.models.batch import prompt
from transformer.models.config import ModelConfig, changed, model_config
from transformer.models.contradictions import check_complete
from transformer.models.own_mixers import check_mixer
from transformer.models.own_modules import check_modules
from transformer.models.reads import score_of
from transformer.nn.dropout import Dropout
from transformer.nn.module_rows import ARCHITECTURES, structure
from transformer.nn.names import SPELLED
from transformer.nn.parameters import initial_values, parameter_axes
from transformer.nn.settings import ModelSettings
from transformer.ops.dropout import check_rate
from transformer.ops.keys import as_key

Cache = dict[str, Any]
"""State of decoding: keys and values, or recurrent states; and `remaining`, the steps that each example has left, B.

Where all layers have a sliding window, keys and values are those of as many tokens as the largest: the token at index i
stands in row i modulo their number. Of a `start` that captures or replaces, all tokens have a row, in order.
"""
Captured = dict[str, Array]
"""Names of activations -> their arrays, with a leading L."""


@dataclasses.dataclass(frozen=True, repr=False)
class Model(ModelBase):
    """A model: its config and its Linen module. It holds no arrays; every method is pure and can be jitted.

    Attributes:
        config: resolved settings.
        module: the Linen module; its `request` is empty.
    """

    def init(self, key: ArrayLike, scale: float | Array = 1.0) -> Params:
        """Draw the parameters, float32, as a nested dict; matrices and tables times `scale`, which may be traced.

        `key` is a key, or a seed: `init(0)` is `init(jax.random.key(0))`.

        Each parameter is drawn by itself, from `key` and its path: models of other variants start the parameters that
        they share alike, and the layers that they share too. `self.module.init` draws from other keys.

        Raises:
            UserError: neither one key nor a seed below 2^32, or a scale that is no number.
        """
        if not has_numbers(scale):
            do = "Pass 1.0, or leave it out."
            raise problem("scale is no number", got=describe(scale), expected="a factor of the initial values", do=do)
        return initial_values(as_key(key), self.parameter_shapes, module_settings(self.config), scale)

    def __call__(self, *arguments: object, **options: object) -> NoReturn:
        """Raise a UserError: a model holds no parameters."""
        do = "Write model.apply(params, batch)."
        raise problem("a model holds no parameters", got="a call of the model", expected="a call of apply", do=do)

    def apply(
        self,
        params: Params,
        batch: Batch | ArrayLike,
        *,
        key: ArrayLike | None = None,
        dropout: float | Array | None = None,
        capture: Sequence[str] = (),
        replace: Replace | None = None,
    ) -> dict[str, Any]:
        """Apply the model to a batch.

        Args:
            batch: a dict of integer arrays of any type (entries and axes: `transformer.models.batch.ENTRIES`). Known
                entries that this architecture does not read may be there.
            key: a key or a seed, for training with dropout. Without one nothing is dropped.
            dropout: the rate, a number or a traced array; None takes the config's.
            capture: names of activations (see `transformer.nn.names`; `model.sites(batch)` lists them).
            replace: name -> a function of the activation, a function of it and the index of its layer, or an array, of
                its shape or with a leading L as captured. Outside of `jax.jit`, functions are compiled anew in each
                call; arrays are not.

        Returns:
            logits, float32 (B T V for a decoder, B S V for an encoder-only model), or class_logits (B C) of a
            classifier; hidden, what the head reads; and captured, name -> array with a leading L, if asked for
            (activations of a whole stack have no L).
            Under `jax.jit`, where ids and lengths cannot be checked, the logits and hidden of a position with an id
            outside of the vocabulary are NaN, and all of an example with a negative length; those of a decoder are
            NaN too where it reads a source with such an id. Captured activations are as they were computed.

        Raises:
            UserError: parameters of another model, a rate outside of its range, a batch without what this architecture
                needs or without a token, an entry that no model reads, shapes that do not fit, ids outside of the
                vocabulary (padding may hold any id), negative lengths, an unknown activation.
        """
        if dropout is not None:
            check_rate(dropout)
        if dropout is not None and key is None:
            expected = "a key or a seed beside a rate of dropout"
            raise problem(
                "dropout needs a random key", got="no key", expected=expected, do="Pass key=jax.random.key(...)."
            )
        rate = None if key is None else self.config.dropout if dropout is None else dropout
        typed = None if key is None else as_key(key)
        site = Dropout() if rate is None or typed is None else Dropout(rate, typed)
        request = self._request(capture, replace)
        inputs, found = self._read(batch, faults.faults_of_input)
        self._check(params)
        out = cast(dict[str, Any], self._run("__call__", request, params, inputs, site))
        side = structure(self.config.architecture).sides[-1]
        by_position, by_example = faults.unknown_positions(found, inputs, side), faults.unknown_examples(found)
        unknown = {"logits": by_position, "class_logits": by_example, "hidden": by_position}
        outputs: dict[str, Any] = {
            name: faults.mark(out[name], where) for name, where in unknown.items() if name in out
        }
        return {**outputs, "captured": out["captured"]} if capture else outputs

    def start(
        self,
        params: Params,
        batch: Batch | ArrayLike,
        *,
        steps: int,
        capture: Sequence[str] = (),
        replace: Replace | None = None,
    ) -> tuple[Array, Cache, Captured]:
        """Begin to decode: read the source and the whole prompt.

        Args:
            batch: `source` and its lengths for an encoder; `target` and `target_lengths`, a prompt of 1 token or
                more, for a decoder; `prefix_lengths`, where the mask slots begin, for an encoder-only model. Padding
                before or after a prompt may be segment 0 of `target_segments`; what is captured of the prompt then
                begins with its first token. A prompt in a segment reads the source in the same segment.
            steps: most tokens to decode.
            capture, replace: as for `apply`.

        Returns:
            The logits of the token after the prompt, B V, float32; the cache; and name -> captured array, leading L.
            Under `jax.jit`, the logits of an example that would be an error are NaN, and so are those of its steps.

        Raises:
            UserError: what `apply` raises, a prompt without a token, several segments in one row, a prompt beyond
                learned positions, fewer than one step, a classifier.
        """
        if not is_integer(steps, known=True) or int(steps) < 1:
            got, expected = f"{shorten(repr(steps))} steps", "1 or more, a whole number known when it is compiled"
            do = "Pass steps, the most tokens to decode."
            raise problem("nothing to decode", got=got, expected=expected, do=do)
        request = self._request(capture, replace)
        inputs, found = self._read(batch, faults.faults_of_prompt)
        self._check(params)
        inputs = prompt(inputs) if "target" in inputs else inputs
        out = self._run("start", request, params, inputs, static=(int(steps),))
        logits_BV, cache, captured = cast(tuple[Array, Cache, Captured], out)
        unknown_B = faults.unknown_examples(found)
        if unknown_B is not None:
            cache = {**cache, "remaining": jnp.where(unknown_B, -1, cache["remaining"])}
        return faults.mark(logits_BV, unknown_B), cache, captured

    def step(
        self,
        params: Params,
        token_B: ArrayLike,
        cache: Cache,
        *,
        capture: Sequence[str] = (),
        replace: Replace | None = None,
    ) -> tuple[Array, Cache, Captured]:
        """Read one token of each example.

        Args:
            token_B: the tokens chosen from the last logits; an encoder-only model does not read them.
            cache: of `start` or of the last `step`.
            capture, replace: as for `apply`.

        Returns:
            As `start`: the logits of the next token, the cache, and the captured activations of this step. An
            encoder-only model computes everything in `start`; its `step` captures and replaces nothing.
            Under `jax.jit`, an example that reads a token outside of the vocabulary, or a step more than its cache
            holds, has NaN as logits from there on. (The states of rnn_seq2seq have no end.)

        Raises:
            UserError: parameters of another model; a token outside of the vocabulary, or no step left, where that is
                known.
        """
        self._check(params)
        request = self._request(capture, replace)
        if not isinstance(cache, Mapping) or "remaining" not in cache:
            raise problem("no state of decoding", got=type(cache).__name__, expected="the second result of start")
        remaining_B = faults.one_step_less(cache["remaining"])
        if "target" in structure(self.config.architecture).sides:
            token_B, remaining_B = faults.next_token(token_B, remaining_B, self.config)
        out = self._run("step", request, params, token_B, cache)
        logits_BV, cache, captured = cast(tuple[Array, Cache, Captured], out)
        return faults.mark(logits_BV, remaining_B < 0), {**cache, "remaining": remaining_B}, captured

    def parameter_axes(self, params: Params) -> dict[str, Any]:
        """Return a nested dict like `params`, with the axes and kind of each array."""
        return parameter_axes(params, module_settings(self.config))

    def __repr__(self) -> str:
        """Return the architecture, the stacks and the settings that are not at their defaults, on a few lines."""
        lines = [f"Model: {self.config.architecture}"]
        for stack, parts in self.stacks.items():
            layers = parts.get("residual", 0)
            counts = {self._spelled(part): count for part, count in parts.items() if part != "residual"}
            words = [part if count == layers else f"{part} in {count}" for part, count in counts.items()]
            lines.append(f"  {stack}: {', '.join([counted(layers, 'layer'), *words])}")
        settings = schema.flatten(changed(self.config))
        text = ", ".join(f"{name}={value}" for name, value in settings.items() if name != "architecture")
        return "\n".join([*lines, *textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="  ")])

    def _spelled(self, part: str) -> str:
        """Return a part of a layer in words; a mixer by its name."""
        mixes = part == "self" and self.config.mixer != "attention"
        return f"mixer {self.config.mixer}" if mixes else SPELLED[part]


def module_settings(config: ModelConfig) -> ModelSettings:
    """Return a resolved config as its modules read it: `score` is its attention's row, and an RNN has no positions."""
    score = score_of(config.as_settings) or config.score
    position = "none" if structure(config.architecture).recurrent else config.position
    return dataclasses.replace(config, score=score, position=position).as_settings


def build(config: ModelConfig | Mapping[str, Any] | None = None, /, **settings: Any) -> Model:
    """Build the model that a config, a dict of its fields, or its fields as keywords describe.

    Raises:
        UserError: an unknown, mistyped, contradictory, missing or unread setting, or a config and keywords.

    >>> build(architecture="decoder_only", vocab_size=11) == build(dict(architecture="decoder_only", vocab_size=11))
    True
    """
    if config is not None and settings:
        raise problem(
            "build takes a config, or settings as keywords",
            got=f"a {type(config).__name__} and {', '.join(settings)}",
            do="Write build({**config, ...}), or build(dataclasses.replace(config, ...)).",
        )
    config = settings if config is None else config
    if not isinstance(config, ModelConfig | Mapping):
        expected = "a ModelConfig, a dict of its fields, or its fields as keywords"
        do = 'Write, for instance, build(architecture="decoder_only", vocab_size=100).'
        raise problem("not a config of a model", got=repr(config), expected=expected, do=do)
    config = config.resolved() if isinstance(config, ModelConfig) else model_config(config)
    check_complete(config.as_settings)
    settings_of_modules = module_settings(config)
    check_modules(settings_of_modules)
    check_mixer(settings_of_modules)
    return Model(config, ARCHITECTURES.of(config, "architecture").make(settings_of_modules))
