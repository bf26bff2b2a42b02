"""The golden files are what their script makes; those of interop are in `test_interop.py`."""

import numpy as np
import pytest

from tests.golden.files import FOLDER, load

pytestmark = pytest.mark.peers


NAMES = sorted(path.stem for path in FOLDER.glob("*.npz") if not path.stem.startswith("interop_"))


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_made_again_as_it_is(make_golden, name):
    made, kept = make_golden.GOLDEN[name](), load(name)
    assert list(made) == list(kept)
    for entry in made:
        assert made[entry].dtype == kept[entry].dtype
        # float64 inside, so only the last bit of float32 may differ; 1e-7 is for gradients that are zero.
        np.testing.assert_allclose(made[entry], kept[entry], rtol=1e-5, atol=1e-7, err_msg=entry)


def test_every_golden_record_has_its_file(make_golden):
    assert set(NAMES) == set(make_golden.GOLDEN)
