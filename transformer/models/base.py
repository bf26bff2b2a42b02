"""The calls of a model's module, and what a caller who looks inside asks for: activations, embedding, head."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from transformer.axes import describe
from transformer.errors import problem
from transformer.models import compiled, entries, faults, sites
from transformer.models.config import ModelConfig
from transformer.models.reads import Parts, stacks
from transformer.models.sites import Site
from transformer.nn.dropout import Dropout
from transformer.nn.intermediates import Replacing, Request, check, make_request
from transformer.nn.module_rows import structure

Params = dict[str, Any]
Batch = Mapping[str, Any]
"""Entries of `transformer.models.batch.ENTRIES` -> their arrays; `labels` and `loss_weights` are not read."""
Replace = Mapping[str, Replacing]
"""Names of activations -> functions of them, of them and the index of their layer, or arrays."""


@dataclasses.dataclass(frozen=True, repr=False)
class ModelBase:
    """A base class: a config and its Linen module, without arrays.

    Attributes:
        config: resolved settings.
        module: the Linen module; its `request` is empty.
    """

    config: ModelConfig
    module: nn.Module

    @functools.cached_property
    def parameter_shapes(self) -> Params:
        """The shapes and types of the parameters, as a nested dict; nothing is computed or compiled."""

        def init() -> Params:
            tokens = jnp.zeros((1, 1), jnp.int32)
            return self.module.init(jax.random.key(0), {"source": tokens, "target": tokens})["params"]

        return jax.eval_shape(init)

    @functools.cached_property
    def _sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter, by its name."""
        leaves, _ = jax.tree_util.tree_flatten_with_path(self.parameter_shapes)
        return {jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape for path, leaf in leaves}

    @property
    def stacks(self) -> dict[str, Parts]:
        """Stacks -> "residual" and its sublayers -> how many of its layers, from the first on, have them."""
        return stacks(self.config.as_settings)

    def embed(
        self, params: Params, tokens: ArrayLike, *, side: str | None = None, types: ArrayLike | None = None
    ) -> Array:
        """Embed tokens: what the first layer of a stack reads, without dropout.

        Args:
            tokens: B T, whole numbers, at positions 0 .. T - 1.
            side: "source" or "target", whose table is read; needed where a model has both.
            types: token types, B T, of a model's source that has them.

        Returns:
            B T D, in the compute type. Under `jax.jit`, a token outside of the vocabulary gives NaN.

        Raises:
            UserError: tokens that are no whole numbers B T or outside of the vocabulary, a side that the model has not.
        """
        self._check(params)
        own = sites.embedding_inputs(self.config, tokens, side, types)
        arrays = (own.tokens_BT, own.positions, Dropout(), own.types_BT)
        x_BTD, _ = self._run("embed", Request(), params, *arrays, static=(own.side,))
        return faults.mark(x_BTD, own.unknown_BT)

    def unembed(self, params: Params, hidden: ArrayLike) -> Array:
        """Compute the logits, float32, of hidden states as the head reads them: of `out["hidden"]`, `out["logits"]`.

        Args:
            hidden: ... D. Of a layer's `residual` these are the logits without the final norm.

        Raises:
            UserError: no floats of the model's width, a classifier.
        """
        self._check(params)
        hidden = sites.hidden_states(self.config, hidden)
        return cast(Array, self._run("unembed", Request(), params, hidden))

    def sites(self, batch: Batch) -> dict[str, Site]:
        """List the activations that can be captured and replaced, with their axes and shapes; nothing is computed.

        Args:
            batch: as for `apply`; arrays may be `jax.ShapeDtypeStruct`.
        """
        names = sites.names_of(self.config, self.stacks)
        described = {name: x for name, x in batch.items() if isinstance(x, jax.ShapeDtypeStruct)}

        def captured(params: Params, described: dict[str, Any]) -> dict[str, Array]:
            module, (inputs, _) = self.module, self._read({**batch, **described}, faults.faults_of_input)
            request = self._request(names, None)
            out = cast(dict[str, Any], module.clone(request=request).apply({"params": params}, inputs))
            return cast(dict[str, Array], out["captured"])

        found = jax.eval_shape(captured, self.parameter_shapes, described)
        return {
            name: Site(sites.axes_of(name, self.config), found[name].shape, found[name].dtype)
            for name in names
            if name in found
        }

    def _read(
        self, batch: Batch | ArrayLike, find: Callable[[entries.Numbers, ModelConfig], list[faults.Fault]]
    ) -> tuple[dict[str, Array], list[faults.Fault]]:
        """Return the arrays of a batch, checked, and the faults that cannot be known yet."""
        row = structure(self.config.architecture)
        numbers = entries.read(batch, entries.entries_of(row.sides, row.recurrent))
        unknown = faults.check(find(numbers, self.config), cast(Batch, batch))
        return {name: jnp.asarray(array) for name, array in numbers.items()}, unknown

    def _check(self, params: Any) -> None:
        """Raise a UserError for parameters without the modules of this model, or of another shape."""
        if not isinstance(params, Mapping) or set(params) != set(self.parameter_shapes):
            raise problem(
                "not the parameters of this model",
                got=f"a dict of {list(params)}" if isinstance(params, Mapping) else describe(params),
                expected=f"a dict of {', '.join(self.parameter_shapes)}",
                do="Pass the result of model.init.",
            )
        for name, shape in self._sizes.items():
            found: Any = params
            for part in name.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
                if isinstance(found, tuple):  # layers one by one, see `decoding.layout`
                    found, shape = found[0], shape[1:]
            if getattr(found, "shape", shape) != shape or found is None:
                raise problem(
                    f"the parameter {name} is not that of this model",
                    got="none" if found is None else f"shape {found.shape}",
                    expected=f"shape {shape}",
                    do="Pass the result of model.init, of a model with the same settings.",
                )

    def _request(self, capture: Sequence[str], replace: Replace | None) -> Request:
        """Return the request for these activations, checked."""
        request = make_request(capture, replace, sites.of_layers(self.config))
        if request != Request():
            whole = sites.of_stacks(self.config, self.stacks)
            check(request, self.stacks, whole, self.config.num_heads, self.config.num_kv_heads)
        return request

    def _run(
        self, method: str, request: Request, params: Params, *inputs: Any, static: tuple[int | str, ...] = ()
    ) -> Any:
        """Call a method of the module: by a program that is compiled once, or as part of the caller's."""
        call = compiled.Call(method, request, static)
        try:
            return compiled.run(self.module, self._program, call, params, *inputs)
        except TypeError as error:
            if "forward-mode" not in str(error) or self.config.kernels == "plain":
                raise
            raise problem(
                "model.kernels has no forward-mode derivative (jax.jvp, jax.jacfwd)",
                got=f"model.kernels {self.config.kernels!r}",
                expected="model.kernels 'plain'",
                do="Build the model with kernels='plain'; its parameters are the same.",
            ) from error

    @functools.cached_property
    def _program(self) -> compiled.Program:
        return compiled.make_program(self.module)
