"""Studies: numbers have the properties that are known of them, and verdicts follow from numbers, whatever they are."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.command_line import run
from experiments.studies import __main__ as command
from experiments.studies import (
    dependence,
    distance,
    heads,
    padding,
    permutation,
    prefixes,
    projections,
    scaling,
    scores,
    sinusoids,
    text,
)
from experiments.studies.__main__ import main
from experiments.studies.gallery import write_gallery
from experiments.studies.pictures import panels
from experiments.studies.record import as_json, carry_out, command_of, plain
from experiments.studies.study import DIFFERS, HOLDS, HOLDS_IF, SHAPE_ONLY, Claim, Study, StudySettings, split
from experiments.studies.table import STUDIES
from experiments.studies.training import best, number_of_parameters, train_lanes
from transformer import schema
from transformer.errors import UserError
from transformer.nn.positions import POSITIONS
from transformer.schema import setting

ROOT = Path(__file__).parents[2]
TINY_SINUSOIDS = sinusoids.SinusoidsSettings(length=33, width=(6, 10))


def claim(found=HOLDS, seeds=3, **others):
    return Claim(said="a", found=found, criterion="c", measured="m", instead="i", seeds=seeds, **others)


@pytest.fixture(scope="module")
def tiny_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("".join(f"{i} and {i * i}; " for i in range(1500)), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def permuted():
    return permutation.measure(permutation.PermutationSettings(length=5, width=8))


@pytest.fixture(scope="module")
def padded():
    return padding.measure(padding.PaddingSettings(length=5, padding=2, width=3))


@pytest.fixture(scope="module")
def depending():
    return dependence.measure(dependence.DependenceSettings(target_length=3, source_length=5, width=4))


@pytest.fixture(scope="module")
def prefix_settings(tiny_text):
    return prefixes.PrefixesSettings(length=3, batch=2, width=8, steps=3, text=tiny_text)


# The frame


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_are_a_preview_whatever_was_found(seeds):
    assert claim(DIFFERS, seeds).verdict == claim(HOLDS, seeds).verdict == "preview"


def test_three_seeds_or_nothing_drawn_give_a_verdict():
    assert claim(DIFFERS, 3).verdict == "differs"
    assert claim(SHAPE_ONLY, None).verdict == "shape only"
    assert claim(HOLDS_IF, 3, condition="H is 7").verdict == "holds if H is 7"


@pytest.mark.parametrize("wrong", [{"found": "true"}, {"found": HOLDS_IF}, {"found": HOLDS, "condition": "H is 7"}])
def test_a_verdict_outside_the_list_or_without_its_condition_is_refused(wrong):
    with pytest.raises(UserError):
        claim(**wrong)


def test_split_holds_where_all_cases_do_and_names_those_that_do():
    assert split({"a": True, "b": True}) == {"found": HOLDS}
    assert split({"a": False, "b": False}) == {"found": DIFFERS}
    assert split({"8": False, "16": True, "32": True}, word="H is ") == {
        "found": HOLDS_IF,
        "condition": "H is 16 or 32",
    }


def test_the_record_says_what_was_run_with_what_and_what_came_out(tmp_path):
    settings = dataclasses.replace(TINY_SINUSOIDS, workdir=str(tmp_path), seeds=(4, 5))
    carry_out("sinusoids", STUDIES["sinusoids"], settings)
    record = json.loads((tmp_path / "sinusoids.json").read_text(), parse_constant=pytest.fail)
    assert (tmp_path / "sinusoids.png").read_bytes().startswith(b"\x89PNG")
    assert {"study", "title", "versions", "git", "devices", "seconds", "numbers"} <= set(record)
    assert record["command"] == "python -m experiments.studies sinusoids --seeds=4,5 --length=33 --width=6,10"
    assert record["seeds"] == [4, 5]
    assert record["settings"] == {"seeds": [4, 5], "preview": False, "length": 33, "width": [6, 10]}
    assert record["versions"]["jax"] == jax.__version__
    fields = {field.name for field in dataclasses.fields(Claim)}
    assert all(set(made) == fields | {"verdict"} for made in record["claims"])
    assert len(record["numbers"]["rows"]["6"]["similarity_T"]) == 33


def test_numbers_that_are_not_finite_are_texts_in_json():
    numbers = {"a": {"b": np.array([1.5, np.nan]), "c": -np.inf, "d": 7}, "e": None}
    there = json.loads(as_json({"study": "x", "numbers": plain(numbers)}))
    assert there == {"study": "x", "numbers": {"a": {"b": [1.5, "nan"], "c": "-inf", "d": 7}, "e": None}}


def test_the_gallery_shows_claim_verdict_and_picture(tmp_path):
    settings = dataclasses.replace(TINY_SINUSOIDS, workdir=str(tmp_path / "made"))
    record = carry_out("sinusoids", STUDIES["sinusoids"], settings)
    assert write_gallery(tmp_path / "page.md", tmp_path / "made", STUDIES) == ["sinusoids"]
    page = (tmp_path / "page.md").read_text()
    assert "(made/sinusoids.png)" in page
    for made in record["claims"]:
        assert made["measured"] in page
        assert f"**{made['verdict']}**" in page


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "sinusoids.json").write_text("{")
    with pytest.raises(UserError, match=r"sinusoids\.json cannot be read.*run the study again"):
        write_gallery(tmp_path / "page.md", tmp_path, STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_settings_have_meanings_and_the_preview_changes_settings_that_exist(name):
    study = STUDIES[name]
    assert issubclass(study.settings, StudySettings)
    assert set(study.preview) <= set(schema.settings(study.settings))
    small = study.chosen(study.settings(preview=True))
    assert all(getattr(small, key) == value for key, value in study.preview.items())
    assert study.chosen(study.settings()) == study.settings()


def test_a_setting_that_was_given_is_kept_in_a_preview():
    given = scaling.ScalingSettings(preview=True, train_width=(8,))
    assert scaling.SCALING.chosen(given).train_width == (8,)
    assert command_of("scaling", scaling.SCALING, given).endswith("scaling --preview=true --train_width=8")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["scalling"], "unknown study; got 'scalling'.*Did you mean 'scaling'"),
        ([], "which study.*scaling, permutation"),
        (["scaling", "--widht=16"], "unknown flag --widht. Did you mean --width"),
        (["all", "--width=16"], "unknown flag --width"),
        (["scaling", "--seeds=1,1"], "--seeds is out of range.*different whole numbers"),
        (["scaling", "--width=16,x"], "--width has the wrong type"),
        (["translation"], "translation needs sentences.*train.de and train.en.*Point --data=DIR"),
        (["translation", "--data=nowhere"], "--data nowhere is not a folder.*Point --data=DIR"),
        (["prefixes", "--text=nowhere", "--steps=2"], "--text nowhere does not exist.*Point --text=PATH"),
    ],
)
def test_mistakes_are_one_line_and_code_2(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        run(main, words)
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.count("\n") == 1
    assert re.search(line, said)
    assert not list(tmp_path.iterdir())


def test_help_lists_the_studies(capsys):
    main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n  {name}" in said for name in STUDIES)


def test_one_command_writes_figure_numbers_and_gallery(tmp_path, capsys):
    main(["sinusoids", f"--workdir={tmp_path}", "--length=20", "--width=6"])
    assert {path.name for path in tmp_path.iterdir()} == {"sinusoids.png", "sinusoids.json", "STUDIES.md"}
    assert "Each position has a code of its own" in capsys.readouterr().out


@dataclasses.dataclass(frozen=True)
class CoinSettings(StudySettings):
    """Counts."""

    count: int = setting(50, "how far")


def test_all_runs_each_study_small_in_a_preview(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(settings):
        asked.append((settings.count, settings.seeds))
        return {"count": settings.count, "seeds": len(settings.seeds)}

    def judge(numbers):
        return [claim(HOLDS if numbers["count"] == 3 else DIFFERS, numbers["seeds"])]

    coin = Study("Coins", CoinSettings, measure, judge, lambda numbers: panels(1)[0], "no time", {"count": 3})
    rows = {"coin": coin, "other": dataclasses.replace(coin, preview={}), "last": dataclasses.replace(coin, needs="x")}
    monkeypatch.setattr(command, "STUDIES", rows)
    main(["all", "--preview", f"--workdir={tmp_path}", "--seeds=4,7"])
    assert asked == [(3, (4, 7)), (50, (4, 7))]
    said = capsys.readouterr().out
    assert said.count("  preview: a") == 2
    assert "last: left out, since it needs --x" in said
    page = (tmp_path / "STUDIES.md").read_text()
    assert page.count("**preview**") == 4
    assert "`python -m experiments.studies coin --seeds=4,7 --preview=true`" in page


# Lanes


def test_lanes_are_seeds_and_rates_that_share_no_state(tiny_text):
    learn = jnp.asarray(text.corpus(tiny_text)[0])
    shape = dict(vocab_size=256, num_layers=1, width=6, num_heads=1)
    model = transformer.build(dict(architecture="decoder_only", **shape))
    sample = text.windows(2, 5)
    together = train_lanes(model, sample, learn, seeds=(3, 8), rates=(1e-3, 1e-2), steps=4)
    assert together.loss_ARU.shape == (2, 2, 4)
    assert np.all(together.loss_ARU[0, :, 0] == together.loss_ARU[1, :, 0])  # one seed: same parameters, same batch
    assert np.all(together.loss_ARU[0, :, -1] != together.loss_ARU[1, :, -1])
    assert np.all(together.loss_ARU[:, 0] != together.loss_ARU[:, 1])
    alone = train_lanes(model, sample, learn, seeds=(8,), rates=(1e-2,), steps=4)
    np.testing.assert_allclose(alone.loss_ARU[0, 0], together.loss_ARU[1, 1], rtol=1e-5)
    counted = together.each(lambda params: {"n": sum(jnp.sum(x) for x in jax.tree.leaves(params))})
    mine = sum(float(jnp.sum(x[3])) for x in jax.tree.leaves(together.params))
    np.testing.assert_allclose(counted["n"][1, 1], mine, rtol=1e-4)


def test_a_lane_that_diverged_is_nan_and_its_rate_is_not_the_best():
    assert best(np.array([[2.0, 2.0], [1.0, np.nan], [1.9, 1.8]])) == 2


# Scaling


def test_the_variance_of_the_inner_product_is_the_width():
    settings = scaling.ScalingSettings(width=(4, 36), queries=400, keys=200, train_width=())
    numbers = scaling.measure(settings)
    np.testing.assert_allclose(numbers["dot"]["variance_HR"].mean(1), (4, 36), rtol=0.1)
    np.testing.assert_allclose(numbers["scaled_dot"]["variance_HR"].mean(1), 1.0, rtol=0.1)
    assert np.all(numbers["dot"]["entropy_HR"][1] < numbers["dot"]["entropy_HR"][0])
    made = scaling.judge(numbers)
    assert made[0].verdict == "holds"
    assert len(made) == 2


def test_the_size_of_the_gradient_is_that_of_the_jacobian():
    found = scaling.statistics(jax.random.key(3), "dot", 1, 5, 7)
    q, k = (
        jax.random.normal(jax.random.split(jax.random.key(3))[0], (7,)),
        jax.random.normal(jax.random.split(jax.random.key(3))[1], (1, 5, 1, 7))[0, :, 0],
    )
    jacobian = jax.jacobian(jax.nn.softmax)(k @ q)
    np.testing.assert_allclose(found["gradient_HR"], jnp.linalg.norm(jacobian), rtol=1e-4)


def scaling_numbers(variance=(16.0, 64.0), scaled=(1.0, 1.0), gradient=(0.1, 0.1), with_scale=(0.2, 0.2), loss=None):
    row = lambda x: np.outer(x, (0.999, 1.0, 1.001))  # noqa: E731
    made = {"width": (16, 64), "keys": 8, "train_width": (16, 64)}
    made["dot"] = {"variance_HR": row(variance), "gradient_HR": row(gradient), "entropy_HR": row((1, 1))}
    made["scaled_dot"] = {"variance_HR": row(scaled), "gradient_HR": row(with_scale), "entropy_HR": row((1, 1))}
    if loss is not None:
        made["trained"] = {"dot": {"loss_HR": row(loss)}, "scaled_dot": {"loss_HR": row((2.0, 2.0))}}
    return made


def test_scaling_verdicts_follow_the_numbers():
    verdict = lambda i, **numbers: scaling.judge(scaling_numbers(**numbers))[i].verdict  # noqa: E731
    assert verdict(0) == "holds"
    assert verdict(0, variance=(32.0, 128.0)) == "shape only"
    assert verdict(0, variance=(16.0, 16.0)) == "differs"
    assert verdict(1) == "holds"
    assert verdict(1, gradient=(0.3, 0.1)) == "holds if H is 64"
    assert verdict(1, gradient=(0.3, 0.3)) == "differs"
    assert verdict(2, loss=(2.5, 2.5)) == "holds"
    assert verdict(2, loss=(1.9, 2.5)) == "holds if H is 64"
    assert verdict(2, loss=(1.9, 1.9)) == "differs"


# Permutation


def test_self_attention_is_equivariant_and_not_invariant(permuted):
    assert permuted["self"]["moved_R"].max() < 1e-5
    assert permuted["self"]["same_R"].min() > 0.05
    assert permuted["self"]["pooled_R"].max() < 1e-5


def test_a_mask_or_positions_break_it_and_cross_attention_sees_a_set(permuted):
    for case in ("causal", "self, sinusoidal", "self, rotary"):
        assert permuted[case]["moved_R"].min() > 0.01
    assert permuted["source of cross"]["same_R"].max() < 1e-5
    assert permuted["source of cross, sinusoidal"]["same_R"].min() > 1e-3
    assert permuted["causal, one layer"]["last_R"].max() < 1e-5
    assert permuted["causal"]["last_R"].min() > 1e-3


def test_permutation_verdicts_follow_the_numbers(permuted):
    same, moved, source, causal = (c.verdict for c in permutation.judge(permuted))
    assert same == "holds if the mean of the positions is read"
    assert moved == "holds if there are neither positions nor a causal mask"
    assert (source, causal) == ("holds if the source has no positions", "holds if it has one layer")
    zero = {case: {name: x * 0.0 for name, x in row.items()} for case, row in permuted.items()}
    assert [c.verdict for c in permutation.judge(zero)] == ["holds"] * 4
    one = {case: {name: x * 0.0 + 1.0 for name, x in row.items()} for case, row in permuted.items()}
    assert [c.verdict for c in permutation.judge(one)] == ["differs"] * 4


# Sinusoids


def test_codes_are_unique_bounded_and_alike_by_distance():
    numbers = sinusoids.measure(TINY_SINUSOIDS)
    for row in numbers["rows"].values():
        assert row["nearest"] > 0.1
        assert row["largest"] <= 1.0 + 1e-6
        assert row["change"] < 1e-5
        assert row["similarity_T"][0] == pytest.approx(1.0, abs=1e-6)
    assert [c.verdict for c in sinusoids.judge(numbers)][:2] == ["holds", "holds"]


def test_sinusoid_verdicts_follow_the_numbers():
    numbers = sinusoids.measure(TINY_SINUSOIDS)
    rows = {w: dict(row) for w, row in numbers["rows"].items()}
    rows[6] |= {"nearest": 0.0, "change": 0.5, "similarity_T": np.linspace(1.0, 0.5, 33)}
    rows[10] |= {"similarity_T": np.linspace(1.0, 0.4, 33)}
    assert [c.verdict for c in sinusoids.judge({**numbers, "rows": rows})] == ["holds if D is 10", "differs", "holds"]
    rows[10] |= {"similarity_T": np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.7, *[0.5] * 27])}
    assert sinusoids.judge({**numbers, "rows": rows})[2].verdict == "holds if the distance is below 5"
    rows[10] |= {"similarity_T": np.array([1.0, 1.1, *[0.5] * 31])}
    assert sinusoids.judge({**numbers, "rows": rows})[2].verdict == "differs"


def test_codes_that_repeat_have_distance_zero():
    assert sinusoids.nearest(np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])) == 0.0


# Prefixes


def test_one_masked_pass_has_the_loss_and_gradient_of_all_prefixes(prefix_settings):
    found = prefixes.equality(prefix_settings, jnp.asarray(text.corpus(prefix_settings.text)[0]))
    assert max(found["loss_R"]) < 1e-5
    assert max(found["gradient_R"]) < 1e-5
    assert min(found["pass_ms_R"] + found["prefixes_ms_R"]) > 0.0


def test_a_training_without_mask_has_a_curve_and_predicts(prefix_settings):
    learn, check = (jnp.asarray(part) for part in text.corpus(prefix_settings.text))
    row = prefixes.train_row(prefixes.CHEATING, prefix_settings, learn, check)
    assert row["loss_RU"].shape == (3, 3)
    assert row["predicts_R"].shape == (3,)
    assert np.all(np.isfinite(row["predicts_R"]))


def test_the_last_row_alone_has_weight_where_only_it_is_trained(tiny_text):
    sample = prefixes.last_row(text.windows(2, 4))
    batch = sample(jax.random.key(0), jnp.asarray(text.corpus(tiny_text)[0]))
    assert np.array_equal(batch["loss_weights"], [[0, 0, 0, 1]] * 2)


def test_predicting_sees_nothing_after_the_prefix(tiny_text):
    model = transformer.build(dict(architecture="encoder_only", vocab_size=256, width=12, num_heads=4, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(3, 6)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    lengths_B = jax.random.randint(jax.random.key(1), (3,), 1, 7)
    after = jnp.arange(6) >= lengths_B[:, None]
    other = {**batch, "target": jnp.where(after, 7, batch["target"])}
    assert bool(after.any())
    assert prefixes.predicting(model, params, batch) == prefixes.predicting(model, params, other)


def prefix_numbers(off=1e-7, last=2.5, bigrams=2.5, cheating=(0.1, 5.0)):
    seeds = np.array([0.999, 1.0, 1.001])
    predicts = dict(zip(prefixes.ROWS, (2.0, last, bigrams, cheating[1]), strict=True))
    rows = {name: {"predicts_R": x * seeds, "loss_RU": np.full((3, 12), cheating[0])} for name, x in predicts.items()}
    times = {"pass_ms_R": [1.0, 1.1, 0.9], "prefixes_ms_R": [4.0, 4.1, 4.2]}
    return {"length": 4, "loss_R": [off] * 3, "gradient_R": [off] * 3, **times, "trained": rows}


def test_prefix_verdicts_follow_the_numbers():
    found = lambda **numbers: [c.verdict for c in prefixes.judge(prefix_numbers(**numbers))]  # noqa: E731
    assert found() == ["holds", "differs", "differs", "differs"]
    assert found(off=0.1)[0] == "differs"
    assert found(last=1.9, bigrams=2.0)[1:3] == ["holds", "holds"]
    assert found(cheating=(3.0, 3.0))[3] == "holds"
    assert prefixes.draw(prefix_numbers()).axes


# Padding


def test_embeddings_of_minus_infinity_give_nan_and_the_mask_here_is_right(padded):
    ways = padded["ways"]
    assert np.all(ways["embeddings of -∞"]["nan"][:, padding.PADDED] == 1.0)
    for reading in ways["the mask here"].values():
        assert np.all(reading <= 1e-5)
    assert np.all(ways["embeddings of 0"]["weight"][:, padding.PADDED] > 0.01)
    assert np.all(ways["scores of 0"]["leak"][:, padding.PADDED] > 1e-3)
    assert np.all(ways["scores of -1e9"]["error"][:, padding.EMPTY] > 1e-2)
    assert np.all(ways["scores of -∞"]["nan"][:, padding.EMPTY] == 1.0)
    for way in ("scores of -1e9", "scores of -∞"):
        assert padding.right(ways[way], padding.PADDED)
    for way in ways.values():  # without padding every way is the same, but for the product with an empty mask
        assert np.all(way["error"][:, padding.FULL] < 1e-5)


def test_padding_verdicts_follow_the_numbers(padded):
    verdicts = [c.verdict for c in padding.judge(padded)]
    conditional = "holds if some row is no padding"
    assert verdicts == ["differs", "differs", "differs", conditional, conditional, "holds"]
    swapped = {**padded, "ways": {**padded["ways"], "the mask here": padded["ways"]["scores of 0"]}}
    assert padding.judge(swapped)[-1].verdict == "differs"


def test_the_masks_that_are_drawn_say_who_sees_whom(padded):
    drawn = padded["masks"]
    assert np.array_equal(drawn["decoder self: causal"], np.tril(np.ones((5, 5), int)))
    assert np.array_equal(drawn["encoder self: padding"][2], [1, 1, 1, 0, 0])
    both = drawn["decoder self: causal"] * drawn["encoder self: padding"]
    assert np.array_equal(drawn["decoder self: causal & padding"], both)


# Scores


def test_a_long_unrelated_key_wins_under_the_inner_product_and_not_under_the_cosine():
    settings = scores.ScoresSettings(lengths=(1.0, 30.0), head_width=8, keys=3, draws=64, rounds=1, steps=0)
    keys = jax.vmap(jax.random.key)(jnp.arange(3))

    def share(name, length):
        return np.asarray(jax.vmap(lambda key: scores.long_key_wins(key, scores.SCORES[name], length, settings))(keys))

    wins = {(name, m): share(name, m) for name in ("dot", "cosine") for m in settings.lengths}
    assert np.all(wins["dot", 30.0] > 0.3)
    assert np.all(wins["cosine", 30.0] == wins["cosine", 1.0])
    assert np.all(wins["dot", 1.0] < 0.1)


def score_numbers(win=(0.0, 0.5), additive=9.0, more=0.0):
    seeds = np.array([0.999, 1.0, 1.001])
    losses = {name: (2.0 + more * (name != "scaled dot")) * seeds for name in scores.SCORES}
    ms = {name: np.array([1.0, 1.01, 0.99]) * (additive if name == "additive" else 1.0) for name in scores.SCORES}
    return {"lengths": (1.0, 8.0), "wins_MR": {name: np.outer(win, seeds) for name in scores.CONTENT}, "ms": ms} | {
        "loss_R": losses
    }


def test_score_verdicts_follow_the_numbers():
    found = lambda **numbers: [c.verdict for c in scores.judge(score_numbers(**numbers))]  # noqa: E731
    assert found() == ["holds if an unrelated key is 1 times as long", "holds", "differs", "differs"]
    assert found(win=(0.0, 0.0))[0] == "holds"
    assert found(win=(0.5, 0.5))[0] == "differs"
    assert found(additive=1.0)[1] == "differs"
    assert found(more=0.5)[2:] == ["holds", "holds"]


# Dependence


def test_blocks_are_zero_where_nothing_is_seen(depending):
    found = depending["blocks_RTS"]
    assert found["cross, source X"].shape == (3, 3, 5)
    off = ~np.eye(3, dtype=bool)
    assert np.all(found["cross, target X'"][:, off] == 0.0)
    assert np.all(found["cross, target X'"][:, ~off] > 0.0)
    assert np.all(found["causal"][:, np.triu(np.ones((5, 5), bool), 1)] == 0.0)
    assert np.all(found["self"] > 0.0)


def test_dependence_verdicts_follow_the_numbers(depending):
    verdicts = [c.verdict for c in dependence.judge(depending)][:2]
    assert verdicts == ["holds if nothing is masked", "holds if the input is in the source X"]
    ones = {"blocks_RTS": {name: np.ones_like(x) for name, x in depending["blocks_RTS"].items()}}
    assert all(c.verdict == "holds" for c in dependence.judge(ones))
    holes = {"blocks_RTS": {name: np.tril(x) * (x.shape[-1] > 0) for name, x in depending["blocks_RTS"].items()}}
    assert [c.verdict for c in dependence.judge(holes)][:2] == ["differs", "differs"]


def test_dependence_on_tokens_is_that_on_their_embeddings():
    model = transformer.build(dict(architecture="decoder_only", vocab_size=8, width=4, num_heads=1, num_layers=1))
    of_source, of_target = dependence.by_token(model, jax.random.key(0), 3, 5)
    assert np.all(of_source == 0.0)
    assert np.all(np.triu(of_target, 1) == 0.0)
    assert np.all(of_target[np.tril_indices(3)] > 0.0)


# Text


def test_text_that_is_missing_or_too_short_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"does not exist.*Point --text=PATH"):
        text.corpus(str(tmp_path / "no"))
    (tmp_path / "short.txt").write_text("abc")
    with pytest.raises(UserError, match="too little text; got 3 bytes in 1 files"):
        text.corpus(str(tmp_path))


def test_windows_label_each_byte_with_the_next(tiny_text):
    learn, check = text.corpus(tiny_text)
    assert len(check) / (len(learn) + len(check)) == pytest.approx(0.05, abs=0.001)
    batch = text.windows(3, 7)(jax.random.key(0), jnp.asarray(learn))
    assert batch["target"].shape == batch["labels"].shape == batch["loss_weights"].shape == (3, 7)
    assert np.array_equal(batch["target"][:, 1:], batch["labels"][:, :-1])
    assert bytes(np.asarray(batch["target"][0], np.uint8)) in learn.tobytes()


# Heads and distance


def test_a_head_that_is_switched_off_is_one_whose_mix_is_zero(tiny_text):
    model = transformer.build(dict(architecture="decoder_only", vocab_size=256, width=6, num_heads=3, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(2, 5)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    found = heads.switched_off(model, params, batch)
    off = model.apply(params, batch, replace={"decoder.1.self.head.2": jnp.zeros_like})["logits"]
    nats = -jax.nn.log_softmax(off)[jnp.arange(2)[:, None], jnp.arange(5), batch["labels"]].mean()
    np.testing.assert_allclose(found["off_LN"][1, 2], nats, rtol=1e-5)
    assert abs(float(found["all_on"] - nats)) > 1e-4


def test_what_heads_share_and_how_far_back_they_look(tiny_text):
    model = transformer.build(dict(architecture="decoder_only", vocab_size=256, width=6, num_heads=3, num_layers=2))
    params = model.init(jax.random.key(0))
    batch = text.windows(2, 5)(jax.random.key(1), jnp.asarray(text.corpus(tiny_text)[0]))
    found = heads.looks_at(model, params, batch)
    weights = np.asarray(model.apply(params, batch, capture=(heads.WEIGHTS,))["captured"][heads.WEIGHTS])
    pairs = [np.minimum(weights[:, :, a], weights[:, :, b]).sum(-1).mean((1, 2)) for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found["shared_L"], np.mean(pairs, axis=0), rtol=1e-5)
    back = sum(weights[..., s] * (np.arange(5) - s) for s in range(5))
    np.testing.assert_allclose(found["distance_LN"], back.mean((1, 3)), rtol=1e-5)


def test_heads_that_weigh_alike_are_one_wide_head_and_no_others():
    found = projections.concatenated(jax.vmap(jax.random.key)(jnp.arange(3)), heads=2, head_width=3, length=4)
    assert np.all(found["alike"] < projections.SAME)
    query, keys, value = np.asarray(jax.random.normal(jax.random.key(0), (3, 1, 4, 2, 3)), float)[:, 0]

    def attend(q, k, v):
        scores = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
        return scores / scores.sum(-1, keepdims=True) @ v

    several = np.concatenate([attend(query[:, n], keys[:, n], value[:, n]) for n in range(2)], axis=-1)
    one = attend(*(x.reshape(4, 6) for x in (query, keys, value)))
    np.testing.assert_allclose(found["own"][0], np.abs(several - one).max() / np.abs(one).max(), rtol=1e-4)


def identities(params, way, width, heads):
    """Parameters of the linear way whose projections change nothing, from those of another."""
    eye = jnp.eye(width)
    own = {"kernel": eye.reshape(width, heads, -1), "bias": jnp.zeros((heads, width // heads))}
    last = {"kernel": eye.reshape(heads, -1, width), "bias": jnp.zeros(width)}
    taken = {"query": own, "key": own, "value": own} if way == projections.NONE else {}
    return {**params, **{f"self_{i}": {**params.get(f"self_{i}", {}), **taken, "output": last} for i in range(2)}}


@pytest.mark.parametrize("way", [projections.NONE, projections.NO_OUTPUT])
def test_a_way_without_a_projection_is_the_linear_one_with_the_identity(way):
    shape = dict(vocab_size=9, num_layers=2, width=8, feed_forward_width=200)
    model = projections.model_of(way, heads=2, **shape)
    as_wide = {**shape, "feed_forward_width": model.config.feed_forward_width}
    linear = projections.model_of(projections.LINEAR, heads=2, **as_wide)
    params = model.init(jax.random.key(0))
    batch = {"source": jnp.arange(12).reshape(2, 6) % 9}
    expected = linear.apply(identities(params, way, 8, 2), batch)["logits"]
    np.testing.assert_allclose(model.apply(params, batch)["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("way", projections.WAYS)
def test_ways_of_projecting_have_as_many_parameters_and_are_causal(way):
    shape = dict(vocab_size=9, num_layers=2, width=8, feed_forward_width=64)
    model = projections.model_of(way, heads=2, **shape)
    assert number_of_parameters(model) == pytest.approx(
        number_of_parameters(projections.model_of(projections.LINEAR, heads=2, **shape)), rel=0.02
    )
    params, tokens = model.init(jax.random.key(0)), jnp.arange(6)[None]
    logits = lambda tokens: model.apply(params, {"source": tokens})["logits"]  # noqa: E731
    after = logits(tokens.at[0, 4].set(7))
    assert np.array_equal(logits(tokens)[0, :4], after[0, :4])
    assert not np.allclose(logits(tokens)[0, 5], after[0, 5])


def head_numbers(loss=(2.0, 1.9, 1.8), damage=(0.1, 0.1, 0.1), shared=(1.0, 0.2, 0.4), ways=(2.2, 2.1, 2.0, 1.9)):
    seeds = np.array([-0.001, 0.0, 0.001])
    loss_NR = np.array(loss)[:, None] + seeds
    off = {n: np.full((2, n, 3), x) + row + seeds for n, x, row in zip((1, 2, 4), damage, loss_NR, strict=True)}
    looks = {
        n: {"shared_L": np.full((2, 3), x), "distance_LN": np.ones((2, n, 3))}
        for n, x in zip((1, 2, 4), shared, strict=True)
    }
    rows = zip(projections.WAYS, ways, strict=True)
    return {
        "heads": (1, 2, 4),
        "width": 8,
        "loss_NR": loss_NR,
        "off": off,
        "looks": looks,
        "ways": {way: {"loss_R": x + seeds, "parameters": 9} for way, x in rows},
        "concatenated": {"own": seeds + 1.0, "alike": 0.0 * seeds},
        "concatenated_heads": (2, 3),
    }


def test_head_verdicts_follow_the_numbers():
    found = lambda **numbers: [c.verdict for c in heads.judge(head_numbers(**numbers))]  # noqa: E731
    assert found()[:4] == ["holds", "holds", "holds", "holds"]
    assert found()[4:] == ["holds if all heads weigh alike", "holds", "holds"]
    assert found(shared=(1.0, 0.2, 0.6))[3] == "holds if N is 2"
    assert found(ways=(2.2, 2.0, 2.0, 2.1))[5:] == ["holds if it has no projections", "differs"]
    assert found(loss=(2.0, 1.9, 1.95))[:2] == ["holds", "holds if 1 become 2"]
    assert found(loss=(2.0, 2.1, 2.2))[:2] == ["differs", "differs"]
    assert found(damage=(0.5, 0.1, -0.1))[2] == "holds if N is 1 or 2"
    assert heads.draw(head_numbers()).axes


def test_the_label_is_the_token_that_stood_so_far_back():
    batch = distance.recall(2, 9, 5)(jax.random.key(0), jnp.asarray(4))
    assert np.array_equal(batch["labels"][:, 4:], batch["target"][:, :5])
    assert np.array_equal(batch["loss_weights"][0], [0.0] * 4 + [1.0] * 5)


def test_distance_is_measured_for_every_row_of_positions():
    assert set(POSITIONS) <= set(distance.rungs())


def test_recall_over_one_step_is_learned():
    settings = distance.DistanceSettings(length=6, vocabulary=3, width=16, batch=16, steps=300, seeds=(0,))
    model = transformer.build(dict(architecture="decoder_only", vocab_size=3, width=16, num_heads=2, num_layers=1))
    assert distance.recalled(model, distance.recall(16, 6, 3), 1, settings, "")[0] > 0.6


def test_a_copy_is_said_as_many_steps_after_it_was_read():
    batch = distance.copy(2, 5, 7)(jax.random.key(0), None)
    said = jnp.concatenate([batch["source"], batch["target"]], axis=1)  # what a model has read, in order
    assert np.array_equal(batch["labels"], said[:, :5])
    assert np.array_equal(said[:, 6:], batch["labels"][:, :-1])
    assert np.all(said[:, 5] == 7)


@pytest.mark.parametrize("name", distance.COPIERS)
def test_every_rung_copies(name):
    settings = distance.DistanceSettings(vocabulary=3, width=8, steps=2, seeds=(0, 1))
    model = transformer.build({"vocab_size": 4, "width": 8, "num_layers": 1, **distance.COPIERS[name]})
    assert distance.recalled(model, distance.copy(4, 3, 3), 3, settings, "").shape == (2,)


def test_distance_verdicts_follow_the_numbers():
    def found(copied=((0.99, 0.2), (0.99, 0.95), (0.99, 0.99)), **rows):
        spread_out = lambda rows: {name: np.outer(x, (0.999, 1.0, 1.001)) for name, x in rows.items()}  # noqa: E731
        copies = dict(zip(distance.COPIERS, copied, strict=True))
        numbers = {"distance": (1, 32), "vocabulary": 16, "accuracy_DR": spread_out({**rows, "RNN": (0.9, 0.9)})}
        return [c.verdict for c in distance.judge({**numbers, "copied_DR": spread_out(copies)})]

    assert found(rotary=(0.99, 0.99), learned=(0.99, 0.95))[:2] == ["holds", "holds if positions are learned"]
    assert found(rotary=(0.99, 0.99), none=(0.99, 0.2)) == [
        "holds if positions are rotary",
        "holds if positions are none",
        "holds",
        "holds",
    ]
    assert found(none=(0.1, 0.2))[:2] == ["differs", "differs"]
    assert found(((0.9, 0.9), (0.9, 0.5), (0.99, 0.99)), none=(0.1, 0.2))[2:] == [
        "differs",
        "holds if the model is Transformer",
    ]


# The gallery of the repository


def test_the_gallery_shows_studies_that_exist_with_their_pictures():
    page = (ROOT / "STUDIES.md").read_text(encoding="utf-8")
    shown = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert shown
    assert set(shown) <= set(STUDIES)
    assert re.findall(r"python -m experiments\.studies (\w+)", page).count(shown[0]) == 1
    for picture in re.findall(r"\]\(([\w/]+\.png)\)", page):
        assert (ROOT / picture).stat().st_size < 150_000
