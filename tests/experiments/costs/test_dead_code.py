import jax
import jax.numpy as jnp
import pytest

from experiments.costs.dead_code import kept_equations

X = jnp.arange(3.0)


def kept_of(function, *arguments):
    """The names of the primitives that are kept, inner programs among them, and which arguments are read."""
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    kept, arguments = kept_equations(program, [True] * len(program.outvars))
    return list(names(kept)), arguments


def names(kept):
    for equation, programs in kept:
        yield equation.primitive.name
        for program in programs:
            yield from names(program)


def first_of(x, y):
    return jnp.tanh(x), jnp.exp(y)


def test_what_no_result_depends_on_goes_with_what_only_that_reads():
    found, arguments = kept_of(lambda x, y: (jnp.exp(jnp.tanh(x)), jnp.sin(y))[1], X, X)
    assert found == ["sin"]
    assert arguments == [False, True]


def test_an_effect_is_kept_with_what_it_reads():
    found, _ = kept_of(lambda x, y: (jax.debug.callback(lambda v: None, jnp.tanh(x)), y)[1], X, X)
    assert found == ["tanh", "debug_callback"]


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint])
def test_a_call_loses_the_result_that_its_caller_does_not_read(wrap):
    found, arguments = kept_of(lambda x, y: wrap(first_of)(x, y)[0], X, X)
    assert found[1:] == ["tanh"]
    assert arguments == [True, False]


def test_branches_lose_what_is_not_read_and_keep_what_one_of_them_reads():
    def either(p, x, y):
        return jax.lax.cond(p, lambda x, y: first_of(x, y), lambda x, y: (y, jnp.sin(x)), x, y)[0]

    found, arguments = kept_of(either, True, X, X)
    assert set(found) == {"convert_element_type", "cond", "tanh"}
    assert arguments == [True, True, True]


def test_a_scan_loses_a_carry_that_nothing_reads_and_keeps_one_that_only_a_later_iteration_reads():
    def chain(x, y, z):
        def step(carry, _):
            return (jnp.sin(carry[1]), jnp.cos(carry[1]), jnp.exp(carry[2])), jnp.tanh(carry[2])

        return jax.lax.scan(step, (x, y, z), length=4)[0][0]

    found, arguments = kept_of(chain, X, X, X)
    assert sorted(found) == ["cos", "scan", "sin"]
    assert arguments == [True, True, False]


def test_a_while_loop_is_whole():
    def loop(x, y):
        return jax.lax.while_loop(lambda s: s[0][0] < 3, lambda s: (s[0] + 1, jnp.exp(s[1])), (x, y))[0]

    found, arguments = kept_of(loop, X, X)
    assert "exp" in found
    assert arguments == [True, True]
