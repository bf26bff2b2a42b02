"""optuna-dashboard shows what a worker has left in a storage."""

import json
from wsgiref.util import setup_testing_defaults

import pytest

from experiments.sweeping.grammar import make_space
from experiments.sweeping.open_study import open_study
from experiments.sweeping.storage import close, open_storage
from experiments.sweeping.study import Search
from tests.peers.conftest import peer

pytestmark = pytest.mark.peers


def page(application, path: str):
    """Return a web application's answer to a request, as JSON."""
    environment, said = {}, []
    setup_testing_defaults(environment)
    environment["PATH_INFO"], _, environment["QUERY_STRING"] = path.partition("?")
    answer = b"".join(application(environment, lambda status, headers, *_: said.append(status)))
    assert said == ["200 OK"], answer
    return json.loads(answer)


def test_the_dashboard_opens_the_storage_of_a_sweep(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    storage, space = open_storage(url, 15), make_space({"model.num_layers": "1,2", "seed": "0:2"})
    points = list(space.corners())
    study = open_study(storage, "layers", Search(space, "grid", points, 0), mode="max", properties={})
    for score, taken in enumerate(study.take(2)):
        # Two seeds, of which one was evaluated once more.
        lanes = [
            {"curve": [(10, 0.25 + x), (20, 0.5 + x), *extra], "validation": {"loss": 1.0 + x}, "test": {}}
            for x, extra in ((score, []), (score + 0.5, [(30, 9.0)]))
        ]
        study.record_result(taken, lanes, 0.5 + score)
    close(storage)

    application = peer("optuna_dashboard").wsgi(url)
    (summary,) = page(application, "/api/studies")["study_summaries"]
    assert summary["study_name"] == "layers"
    trials = page(application, f"/api/studies/{summary['study_id']}?after=0")["trials"]
    shown = {(t["params"][0]["param_external_value"], t["state"], *t["values"]) for t in trials}
    assert shown == {("1", "Complete", 0.5), ("2", "Complete", 1.5)}
    curves = [[(one["step"], one["value"]) for one in t["intermediate_values"]] for t in trials]
    assert sorted(curves) == [[(10, 0.5), (20, 0.75)], [(10, 1.5), (20, 1.75)]]
    attributes = [{one["key"]: one["value"] for one in t["user_attrs"]} for t in trials]
    assert sorted(own["validation loss"] for own in attributes) == ["1.25", "2.25"]
