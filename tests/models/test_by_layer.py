"""Windows and rotary bases that differ by layer are arrays that the one scanned block is given."""

import jax
import numpy as np
import pytest

from tests.fixtures.speeds import more
from tests.fixtures.tiny import T, batch, tiny

NAME = "decoder.*.self.weights"


def weights(**settings):
    """L B N T S."""
    model = tiny("decoder_only", position="rotary", **settings)
    return np.asarray(model.model.apply(model.params, batch(), capture=(NAME,))["captured"][NAME])


def test_each_layer_sees_as_far_as_its_own_window():
    distance = np.arange(T)[:, None] - np.arange(T)
    for sizes in ((2, None), (None, 3)):
        seen = weights(window=sizes)
        for layer, size in zip(seen, sizes, strict=True):
            near = (distance >= 0) & (distance < (T if size is None else size))
            np.testing.assert_array_equal((layer[0] > 0), np.broadcast_to(near, layer[0].shape))


@pytest.mark.parametrize(
    "settings",
    [
        {"window": (3, 3), "rotary_base": (100.0, 100.0)},
        more({"window": (3, 3)}),
        more({"rotary_base": (100.0, 100.0)}),
    ],
)
def test_the_same_for_each_layer_is_the_same_for_all(settings):
    one = {name: x[0] for name, x in settings.items()}
    many, single = tiny("seq2seq", position="rotary", **settings), tiny("seq2seq", position="rotary", **one)
    np.testing.assert_allclose(many(batch()), single(batch()), rtol=1e-5, atol=1e-5)


def test_the_order_of_rotary_bases_is_that_of_the_layers():
    slow, fast, both = (weights(rotary_base=base) for base in ((1e6, 1e6), (3.0, 1e6), (3.0, 3.0)))
    np.testing.assert_allclose(fast[0], both[0], rtol=1e-5, atol=1e-6)
    assert np.abs(fast[0] - slow[0]).max() > 1e-3


def test_more_layers_of_different_windows_are_no_larger_program():
    def size(windows):
        model = tiny("decoder_only", position="rotary", num_layers=len(windows), window=windows)
        shapes = model.model.parameter_shapes
        return len(str(jax.make_jaxpr(model.model.apply)(shapes, batch()).jaxpr).splitlines())

    assert size((2, None, 3, 4, 2, 5)) == size((2, None))
