"""pandas reads the tables that commands write, and gets equal numbers."""

import numpy as np
import pytest

from experiments.storage.table_files import FORMATS, Sheet
from tests.peers.conftest import peer

pytestmark = pytest.mark.peers
NUMBERS = np.random.default_rng(0).standard_normal(200) * 10.0 ** np.random.default_rng(1).integers(-300, 300, 200)
SHEET = Sheet([{"name": f"r{i}", "value": float(x), "count": i} for i, x in enumerate(NUMBERS)], {"value": "nats"})


@pytest.mark.parametrize("ending", [".csv", ".json", ".md"])
def test_every_number_is_read_back_equal(tmp_path, ending):
    pandas = peer("pandas")
    path = tmp_path / f"table{ending}"
    path.write_text(FORMATS[ending](SHEET), encoding="utf-8")
    if ending == ".csv":
        frame = pandas.read_csv(path)
    elif ending == ".json":
        frame = pandas.read_json(path, orient="table", precise_float=True)
    else:
        frame = pandas.read_csv(path, sep=r"\s*\|\s*", engine="python", skiprows=[1]).dropna(axis=1, how="all")
    assert frame.columns[0] == "name"
    np.testing.assert_array_equal(frame.iloc[:, 1].to_numpy(float), NUMBERS)
    assert frame["count"].tolist() == list(range(len(NUMBERS)))
