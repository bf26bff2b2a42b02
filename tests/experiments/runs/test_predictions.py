"""Files of predictions: the name that a file needs."""

import pytest

from experiments.runs.predictions import Predictions
from transformer.errors import UserError


@pytest.mark.parametrize("name", ["p.csv", "p"])
def test_predictions_are_json_lines_by_their_name(tmp_path, name):
    with pytest.raises(UserError, match=r"unknown ending of --predictions; got .*; expected \.jsonl"):
        Predictions(str(tmp_path / name))
    assert Predictions(str(tmp_path / "p.jsonl")).path == tmp_path / "p.jsonl"
