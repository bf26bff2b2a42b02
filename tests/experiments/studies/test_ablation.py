"""Ablation: each row is a model; verdicts follow from numbers, whatever they are."""

import numpy as np
import pytest

import transformer
from experiments.studies import ablation
from experiments.studies.ablation import BASE, ROWS

SEEDS = np.array([-0.001, 0.0, 0.001])


@pytest.mark.parametrize("name", ROWS)
def test_each_row_is_a_model(name):
    limit = {"max_length": 9} if name == ablation.LEARNED else {}
    config = transformer.build({"vocab_size": 9, **ablation.COMMON, **limit, **ROWS[name]}).config
    assert config.num_heads * config.head_width == config.width or name == ablation.NARROW


@pytest.mark.more
def test_rows_are_measured():
    settings = ablation.AblationSettings(
        rows=(BASE, ablation.SHARP), examples=30, held_out=8, batch=4, steps=2, seeds=(0, 3)
    )
    numbers = ablation.measure(settings)
    assert numbers["examples"] == 30
    base, sharp = (numbers["rows"][name]["nats_R"] for name in (BASE, ablation.SHARP))
    assert base.shape == (2,)
    assert np.all(base != sharp)
    assert ablation.judge(numbers)[0].verdict == "preview"


def numbers(nats=None, accuracy=None, rows=tuple(ROWS)):
    made = {
        name: {
            "nats_R": 1.0 + (nats or {}).get(name, 0.0) + SEEDS * (1 + i),
            "accuracy_R": 0.5 + (accuracy or {}).get(name, 0.0) + SEEDS * (1 + i),
        }
        for i, name in enumerate(rows)
    }
    return {"examples": 10, "rows": made}


PAPER = {
    **dict.fromkeys(("1 head", "12 heads", "narrow keys", "1 layer", "half width", "no dropout"), 0.2),
    **dict.fromkeys(("3 layers", "double width", "no smoothing"), -0.2),
}


def test_verdicts_follow_the_numbers():
    def found(*changed):
        return [c.verdict for c in ablation.judge(numbers(*changed))]

    assert found(PAPER, {"no smoothing": -0.1}) == ["holds"] * 6
    contrary = {name: -value for name, value in PAPER.items()} | {"learned positions": 0.3}
    assert found(contrary) == ["differs"] * 6
    assert found(PAPER)[4] == "shape only"
    assert found({**PAPER, "12 heads": 0.0})[0] == "holds if it is 1 head"
    assert found({**PAPER, "3 layers": 0.1})[2] == "holds if it becomes wider"
    assert found({**PAPER, "learned positions": -0.3})[5] == "differs"


def test_claims_are_of_the_rows_that_were_trained():
    few = numbers(rows=(BASE, ablation.NO_DROPOUT, ablation.MORE_DROPOUT, ablation.SHARP))
    assert next(c.said for c in ablation.judge(few)) == "No dropout is worse (D)"
    assert len(ablation.judge(few)) == 2
    assert ablation.judge(numbers(rows=tuple(ROWS)[1:])) == []


def test_the_rows_are_drawn():
    assert len(ablation.draw(numbers()).axes) == 2
