"""The frame of the studies: records, verdicts, the command, the gallery; lanes and text."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.cli.flags import run
from experiments.studies import __main__ as command
from experiments.studies import scaling, sinusoids
from experiments.studies.__main__ import main
from experiments.studies.frame.claim import (
    DIFFERS,
    HOLDS,
    HOLDS_IF,
    SHAPE_ONLY,
    Claim,
    Study,
    StudySettings,
    judge_cases,
)
from experiments.studies.frame.gallery import page, read, write_gallery
from experiments.studies.frame.pictures import panels
from experiments.studies.frame.record import as_json, claim_json, command_of, plain, run_study
from experiments.studies.frame.training import best_rate, train_lanes
from experiments.studies.parts import text
from experiments.studies.table import STUDIES
from transformer import schema
from transformer.errors import UserError
from transformer.schema import setting

ROOT = Path(__file__).parents[3]
TINY_SINUSOIDS = sinusoids.SinusoidsSettings(length=33, width=(6, 10))


def claim(found=HOLDS, seeds=3, **others):
    return Claim(said="a", found=found, criterion="c", measured="m", instead="i", seeds=seeds, **others)


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
    assert judge_cases({"a": True, "b": True}) == {"found": HOLDS}
    assert judge_cases({"a": False, "b": False}) == {"found": DIFFERS}
    assert judge_cases({"8": False, "16": True, "32": True}, word="H is ") == {
        "found": HOLDS_IF,
        "condition": "H is 16 or 32",
    }


def test_the_record_holds_command_settings_versions_and_results(tmp_path):
    settings = dataclasses.replace(TINY_SINUSOIDS, workdir=str(tmp_path), seeds=(4, 5))
    run_study("sinusoids", STUDIES["sinusoids"], settings)
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
    record = run_study("sinusoids", STUDIES["sinusoids"], settings)
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
    small = study.resolve(study.settings(preview=True))
    assert all(getattr(small, key) == value for key, value in study.preview.items())
    assert study.resolve(study.settings()) == study.settings()


def test_every_file_beside_the_table_is_a_study():
    folder = ROOT / "experiments" / "studies"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__", "table"}
    assert files == {study.settings.__module__.split(".")[-1] for study in STUDIES.values()}


def test_a_setting_that_was_given_is_kept_in_a_preview():
    given = scaling.ScalingSettings(preview=True, train_width=(8,))
    assert scaling.SCALING.resolve(given).train_width == (8,)
    assert command_of("scaling", scaling.SCALING, given).endswith("scaling --preview=true --train_width=8")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["scalling"], "unknown study; got 'scalling'.*Did you mean 'scaling'"),
        ([], "no study is named.*scaling, permutation"),
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
    printed = capsys.readouterr().err
    assert left.value.code == 2
    assert printed.count("\n") == 1
    assert re.search(line, printed)
    assert not list(tmp_path.iterdir())


def test_help_lists_the_studies(capsys):
    main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"\n  {name}" in printed for name in STUDIES)


def test_one_command_writes_figure_numbers_and_gallery(tmp_path, capsys):
    main(["sinusoids", f"--workdir={tmp_path}", "--length=20", "--width=6"])
    assert {path.name for path in tmp_path.iterdir()} == {"sinusoids.png", "sinusoids.json", "STUDIES.md"}
    assert "Each position has a code of its own" in capsys.readouterr().out


@dataclasses.dataclass(frozen=True)
class CoinSettings(StudySettings):
    """Counts."""

    count: int = setting(50, "how far")


def test_all_runs_each_study_small_in_a_preview(tmp_path, monkeypatch, capsys):
    measured_with = []

    def measure(settings):
        measured_with.append((settings.count, settings.seeds))
        return {"count": settings.count, "seeds": len(settings.seeds)}

    def judge(numbers):
        return [claim(HOLDS if numbers["count"] == 3 else DIFFERS, numbers["seeds"])]

    coin = Study("Coins", CoinSettings, measure, judge, lambda numbers: panels(1)[0], "no time", {"count": 3})
    rows = {"coin": coin, "other": dataclasses.replace(coin, preview={}), "last": dataclasses.replace(coin, needs="x")}
    monkeypatch.setattr(command, "STUDIES", rows)
    main(["all", "--preview", f"--workdir={tmp_path}", "--seeds=4,7"])
    assert measured_with == [(3, (4, 7)), (50, (4, 7))]
    printed = capsys.readouterr().out
    assert printed.count("  preview: a") == 2
    assert "last: left out, since it needs --x" in printed
    page = (tmp_path / "STUDIES.md").read_text()
    assert page.count("**preview**") == 4
    assert "`python -m experiments.studies coin --seeds=4,7 --preview=true`" in page


@pytest.mark.more
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
    assert best_rate(np.array([[2.0, 2.0], [1.0, np.nan], [1.9, 1.8]])) == 2


def test_text_that_is_missing_or_too_short_is_an_error_with_advice(tmp_path):
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


RECORDS = {name: ROOT / "docs" / "studies" / f"{name}.json" for name in STUDIES}


def test_the_gallery_is_the_page_of_its_records():
    records = [read(path) for path in RECORDS.values() if path.exists()]
    assert (ROOT / "STUDIES.md").read_text(encoding="utf-8") == page(records, Path("docs/studies"))


@pytest.mark.parametrize("name", [name for name, path in RECORDS.items() if path.exists()])
def test_the_verdicts_of_the_gallery_are_those_of_its_numbers(name):
    record = read(RECORDS[name])

    def texts(claim):
        return claim["said"], claim["verdict"], claim["criterion"], claim["instead"]

    judged = [claim_json(claim) for claim in STUDIES[name].judge(record["numbers"])]
    assert [texts(claim) for claim in judged] == [texts(claim) for claim in record["claims"]]
    assert len(record["seeds"]) >= 3


def test_the_gallery_shows_studies_that_exist_with_their_pictures():
    page = (ROOT / "STUDIES.md").read_text(encoding="utf-8")
    shown = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert shown
    assert set(shown) <= set(STUDIES)
    assert re.findall(r"python -m experiments\.studies (\w+)", page).count(shown[0]) == 1
    for picture in re.findall(r"\]\(([\w/]+\.png)\)", page):
        assert (ROOT / picture).stat().st_size < 150_000
