"""Layouts of a block: the sublayers f, g, ... in the residual stream x, their norms and their order.

pre       x + f(norm(x)), then g         GPT-2, Xiong et al. 2020; the stack ends with a norm
post      norm(x + f(x)), then g         Vaswani et al. 2017, BERT
sandwich  x + norm(f(norm(x))), then g   Ding et al. 2021, 2105.13290, Gemma 2; the stack ends with a norm
parallel  x + f(norm(x)) + g(norm(x))    GPT-J, PaLM (Chowdhery et al. 2022, 2204.02311, section 2); as pre at its end

In a parallel block all sublayers read one norm of the stream, cross-attention too, which GPT-J and PaLM do not have.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
from jax import Array

from transformer.axes import check_shape
from transformer.errors import problem
from transformer.nn.settings import ModelSettings
from transformer.small_example import check_call
from transformer.tables import Row, Table

Map = Callable[[Array], Array]
Sublayers = Mapping[str, Map]
"""Name of a sublayer, "self", "cross" or "feed_forward" -> its function, in the order of the block."""


@dataclasses.dataclass(frozen=True, eq=False)
class BlockLayout(Row):
    """A row of BLOCK_LAYOUTS.

    Attributes:
        function: (x_BTD, sublayers, norm, drop) -> the new residual stream; a row with settings also takes `settings`.
            It calls each function of `sublayers` once. `norm(name)` is the norm of that sublayer, and
            `norm(name, "after_")` a second one; `drop(name)` is its dropout.
        final_norm: True where the stack ends with a norm.
    """

    function: Callable[..., Array]
    final_norm: bool = True


def _pre(x: Array, sublayers: Sublayers, norm: Callable[..., Map], drop: Callable[[str], Map]) -> Array:
    for name, sublayer in sublayers.items():
        x = x + drop(name)(sublayer(norm(name)(x)))
    return x


def _post(x: Array, sublayers: Sublayers, norm: Callable[..., Map], drop: Callable[[str], Map]) -> Array:
    for name, sublayer in sublayers.items():
        x = norm(name)(x + drop(name)(sublayer(x)))
    return x


def _sandwich(x: Array, sublayers: Sublayers, norm: Callable[..., Map], drop: Callable[[str], Map]) -> Array:
    for name, sublayer in sublayers.items():
        x = x + drop(name)(norm(name, "after_")(sublayer(norm(name)(x))))
    return x


def _parallel(x: Array, sublayers: Sublayers, norm: Callable[..., Map], drop: Callable[[str], Map]) -> Array:
    y = norm(next(iter(sublayers)))(x)
    for name, sublayer in sublayers.items():
        x = x + drop(name)(sublayer(y))
    return x


ROWS: dict[str, BlockLayout] = {
    "pre": BlockLayout(_pre),
    "post": BlockLayout(_post, final_norm=False),
    "sandwich": BlockLayout(_sandwich),
    "parallel": BlockLayout(_parallel),
}

BLOCK_LAYOUTS = Table(
    "block_layout",
    BlockLayout,
    ROWS,
    make=BlockLayout,
    expected="a function (x, sublayers, norm, drop) -> an array of x's shape, or a"
    " transformer.nn.block_layout.BlockLayout",
)


def sublayers(config: ModelSettings, cross: bool) -> tuple[str, ...]:
    """Return the names of a block's sublayers, in their order."""
    has = {"self": config.self_attention, "cross": cross, "feed_forward": config.feed_forward_width != 0}
    return tuple(name for name, there in has.items() if there)


def ends_with_norm(config: ModelSettings) -> bool:
    """Return whether a stack of blocks, if it has any, ends with a norm."""
    return BLOCK_LAYOUTS.of(config, "norm_placement").final_norm


def check_layout(row: BlockLayout, what: str, names: Iterable[str]) -> None:
    """Call a layout from outside on the shapes of a small example of a block with these sublayers.

    Args:
        what: names the layout, for errors.

    Raises:
        UserError: it takes other arguments, fails, returns something else, or does not call each sublayer once.
    """
    names = tuple(names)
    takes = ("x_BTD", "sublayers", "norm", "drop")

    def laid(x_BTD: Array) -> None:
        called: list[str] = []

        def sublayer(name: str) -> Map:
            def same(y_BTD: Array) -> Array:
                check("gives a sublayer", y_BTD)
                called.append(name)
                return y_BTD

            return same

        def check(does: str, y_BTD: Array) -> None:
            check_shape(f"what {what} {does}", y_BTD, "B T D", dict(zip("BTD", x_BTD.shape, strict=True)), jnp.floating)

        def norm(name: str, part: str = "") -> Map:
            return _of_a_sublayer(what, "norm", name, names)

        def drop(name: str) -> Map:
            return _of_a_sublayer(what, "drop", name, names)

        check("returns", row.function(x_BTD, {name: sublayer(name) for name in names}, norm, drop, **row.own))
        if sorted(called) != sorted(names):
            got, expected = f"calls of {', '.join(called) or 'none'}", f"one of each of {', '.join(names)}"
            raise problem(f"{what} does not call each sublayer once", got=got, expected=expected)

    check_call(what, row.function, takes, laid, (jax.ShapeDtypeStruct((2, 3, 8), jnp.float32),), named=row.own)


def _of_a_sublayer(what: str, function: str, name: str, names: Iterable[str]) -> Map:
    """Return the identity. Raises a UserError where the name is none of a sublayer."""
    if name not in names:
        raise problem(f"{what} calls {function} of something else", got=repr(name), expected=" or ".join(names))
    return lambda x: x
