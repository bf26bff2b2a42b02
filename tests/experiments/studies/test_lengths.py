"""Lengths: longer sequences are scored where training had no positions; words follow the lanes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import lengths
from experiments.studies.frame.claim import Case
from experiments.studies.frame.text import same
from experiments.studies.lengths import BACK, KINDS, LONGER
from tests.fixtures.lanes import arms_of, trained, words

EXPERIMENT = lengths.experiment(lengths.LengthsSettings())


def test_longer_sequences_are_scored_on_the_positions_beyond():
    settings = lengths.LengthsSettings(length=6, vocabulary=5, width=8, batch=2)
    own = lengths.trainee(settings, "learned")

    @dataclasses.dataclass(frozen=True)
    class Recalling:
        """Recalls beyond the first 12 positions alone."""

        def apply(self, params, batch, **options):
            tokens_BT = batch["target"]
            there_T = jnp.arange(tokens_BT.shape[1]) >= 12
            logits = jax.nn.one_hot(jnp.roll(tokens_BT, BACK, axis=1), 5) * there_T[:, None]
            return {"logits": logits - 1e-3 * jax.nn.one_hot(0, 5)}

    found = own.extra(Recalling(), None)
    assert found["accuracy_4"] == pytest.approx(12 / 18 + 0.2 / 3, abs=0.05)
    assert found["accuracy_2"] == pytest.approx(0.2, abs=0.1)
    assert own.model.config.max_length == 24


def scores(**at_far):
    def extra(kind):
        return {f"accuracy_{times}": at_far.get(kind, 0.3) for times in LONGER}

    return {kind: {"loss": 0.1, "accuracy": 0.98, "extra": extra(kind)} for kind in KINDS}


USUAL = scores(rotary=0.6, alibi=0.98, relative=0.98)


def test_words_follow_the_lanes(tmp_path):
    expected = ["fails", "fails", "fails", "fails", "holds", "holds"]
    found = words(EXPERIMENT, USUAL, tmp_path / "a")
    assert found == {1: expected, 2: expected, 3: ["no difference"], 4: ["holds"] * 3}
    found = words(EXPERIMENT, scores(sinusoidal=0.95), tmp_path / "b")
    assert found == {1: ["fails", "holds", *["fails"] * 4], 2: found[1], 3: ["holds"], 4: ["reversed"] * 3}


def kept_by(*words):
    cases = [Case(same(kind), word, same("")) for kind, word in zip(KINDS, words, strict=False)]
    return lengths.kept_by(cases)


def test_the_text_names_the_encodings_that_were_right_only_where_some_were_judged():
    assert "It was right" not in kept_by("not tested", "preview").en
    assert "正确的有" not in kept_by("not tested", "preview").zh
    found = kept_by("holds", "fails", "holds")
    assert "It was right with: no encoding, learned. The task" in found.en
    assert "无位置编码、learned。" in found.zh
    assert "It was right with none of them. The task" in kept_by("fails", "undecided").en


def test_every_arm_is_asked_about_and_the_figure_is_drawn_of_those_that_are_there(tmp_path):
    assert arms_of(EXPERIMENT.questions) == set(EXPERIMENT.arms)
    for i, some in enumerate(({}, {"alibi": USUAL["alibi"]}, USUAL)):
        figure = lengths.draw({"trained": trained(EXPERIMENT, some, tmp_path / str(i))})
        assert len(figure.axes[0].lines) == len(some)
    assert np.isfinite(figure.axes[0].lines[0].get_ydata()).all()
