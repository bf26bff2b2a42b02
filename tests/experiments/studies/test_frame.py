"""The frame of the studies: records, verdicts, the command, the gallery; lanes and text."""

import dataclasses
import json
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from experiments.cli.flags import run
from experiments.comparing.decision import COUNTEREXAMPLE, FAILS, HOLDS, HOLDS_EXACTLY, NOT_TESTED, PREVIEW, UNDECIDED
from experiments.studies import __main__ as command
from experiments.studies import induction, scaling, sinusoids
from experiments.studies.__main__ import main
from experiments.studies.frame.claim import Case, Claim, Study, StudySettings, exact
from experiments.studies.frame.differences import draw_differences
from experiments.studies.frame.gallery import read, write_gallery
from experiments.studies.frame.lab import FLAT
from experiments.studies.frame.pictures import COLOURS, MARKERS, marked, panels
from experiments.studies.frame.record import as_json, claim_json, command_of, judge_record, run_study
from experiments.studies.frame.store import Store, plain
from experiments.studies.frame.text import WORDS, same
from experiments.studies.frame.training import OPTIMIZER, Trainer, arrived, readings_of
from experiments.studies.parts import text
from experiments.studies.table import STUDIES
from transformer import schema
from transformer.errors import UserError
from transformer.schema import setting

ROOT = Path(__file__).parents[3]
TINY_SINUSOIDS = sinusoids.SinusoidsSettings(length=33, width=(6, 10))


def claim(word=HOLDS, number=1):
    return Claim(number, same("a"), same("c"), (Case(same(""), word, same("m")),), same("i"))


def test_a_word_outside_the_list_is_refused():
    with pytest.raises(UserError, match="not a word of a verdict; got 'differs'"):
        claim("differs")


@pytest.mark.parametrize(
    ("errors", "controls", "word"),
    [
        ([1e-7, 2e-6], [0.5, 0.01], HOLDS_EXACTLY),
        ([1e-7, 2e-6], [0.5, 0.0005], UNDECIDED),
        ([1e-7, 2e-5], [0.5, 0.01], UNDECIDED),
        ([0.2, 0.01], None, COUNTEREXAMPLE),
        ([0.2, 0.0005], None, UNDECIDED),
        ([1e-7, np.nan], [0.5], UNDECIDED),
    ],
)
def test_an_identity_needs_a_small_largest_error_and_a_control_that_differs(errors, controls, word):
    assert exact(same("x"), errors, controls).word == word


def test_a_counterexample_shows_the_smallest_of_its_differences():
    assert "0.0100" in exact(same(""), [0.2, 0.01]).measured.en


def test_the_record_holds_command_settings_versions_and_results(tmp_path):
    settings = dataclasses.replace(TINY_SINUSOIDS, workdir=str(tmp_path))
    run_study("sinusoids", STUDIES["sinusoids"], settings)
    record = json.loads((tmp_path / "sinusoids.json").read_text(), parse_constant=pytest.fail)
    assert (tmp_path / "sinusoids.png").read_bytes().startswith(b"\x89PNG")
    assert {"study", "title", "versions", "git", "devices", "seconds", "numbers"} <= set(record)
    assert record["command"] == "python -m experiments.studies sinusoids --length=33 --width=6,10"
    assert record["settings"] == {"preview": False, "length": 33, "width": [6, 10]}
    assert record["versions"]["jax"] == jax.__version__
    fields = {field.name for field in dataclasses.fields(Claim)}
    assert all(set(made) == fields | {"changed"} for made in record["claims"])
    assert len(record["numbers"]["rows"]["6"]["similarity_T"]) == 33


def test_numbers_that_are_not_finite_are_texts_in_json():
    numbers = {"a": {"b": np.array([1.5, np.nan]), "c": -np.inf, "d": 7}, "e": None}
    there = json.loads(as_json({"study": "x", "numbers": plain(numbers)}))
    assert there == {"study": "x", "numbers": {"a": {"b": [1.5, "nan"], "c": "-inf", "d": 7}, "e": None}}


def test_the_galleries_show_claims_words_and_pictures_in_both_languages(tmp_path):
    settings = dataclasses.replace(TINY_SINUSOIDS, workdir=str(tmp_path / "made"))
    record = run_study("sinusoids", STUDIES["sinusoids"], settings)
    assert write_gallery(tmp_path / "page.md", tmp_path / "made", STUDIES) == ["sinusoids"]
    for language, name in enumerate(("page.md", "page.zh.md")):
        text = (tmp_path / name).read_text()
        assert "(made/sinusoids.png)" in text
        for made in record["claims"]:
            assert made["said"][language] in text
            for case in made["cases"]:
                assert case["measured"][language] in text
                assert f"**{WORDS[case['word']][language]}**" in text


def gallery_of(tmp_path, *claims, devices="3 cores of Some CPU"):
    """Write the pages of one record with these claims, and return them, in English and in Chinese."""
    versions = {"python": "3", "jax": "0"}
    head = {"study": "sinusoids", "title": same("t"), "command": "c", "devices": devices, "seconds": 1.0}
    record = {**head, "versions": versions, "claims": [claim_json(own, None) for own in claims], "numbers": {}}
    (tmp_path / "made").mkdir(parents=True)
    (tmp_path / "made" / "sinusoids.json").write_text(as_json(record))
    write_gallery(tmp_path / "page.md", tmp_path / "made", STUDIES)
    return [(tmp_path / name).read_text(encoding="utf-8") for name in ("page.md", "page.zh.md")]


def one(number, word, measured="", **numbers):
    case = Case(same(""), word, same(measured), reason=same("why"), numbers=numbers)
    return Claim(number, same(f"claim {number}"), same("c"), (case,), same(f"result {number}"))


def test_a_claim_that_was_not_run_has_no_result_and_is_listed_by_itself(tmp_path):
    # The second was run, and a gate failed; the third was not run.
    pages = gallery_of(tmp_path, one(1, HOLDS, "m"), one(2, NOT_TESTED, "m", values=[1.0]), one(3, NOT_TESTED))
    for page, mark, count in zip(
        pages, ("**Not run yet**", "**尚未运行**"), ("Of 3 claims, 2", "共 3 条论断，其中 2"), strict=True
    ):
        assert count in page
        assert [f"result {number}" in page for number in (1, 2, 3)] == [True, True, False]
        overview = page[: page.index("## sinusoids")]
        tested, other = overview.split(mark)
        assert [f"| claim {number} |" in tested for number in (1, 2, 3)] == [True, True, False]
        assert re.findall(r"\| claim (\d) \|", other) == ["3"]
    assert "not run yet" not in gallery_of(tmp_path / "all", one(1, HOLDS, "m"))[0].lower()


def test_the_gallery_states_its_rule_for_rates_and_its_devices_in_both_languages(tmp_path):
    english, chinese = gallery_of(tmp_path, one(1, HOLDS, "m"))
    assert f"neighbour is less than {FLAT} nats worse, the neighbour is taken" in english
    assert f"只差不到 {FLAT} 奈特" in chinese
    assert "on 3 cores of Some CPU" in english
    assert "Some CPU 的 3 个核" in chinese
    assert "cores" not in chinese
    assert "2 x H200" in gallery_of(tmp_path / "other", one(1, HOLDS, "m"), devices="2 x H200")[1]


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


def test_colour_and_marker_tell_curves_apart():
    count = len(COLOURS) * len(MARKERS)
    assert len({marked(number) for number in range(count)}) == count


@pytest.mark.parametrize(
    ("name", "unit"), [("scaling", "byte"), ("tying", "byte"), ("norms", "token"), ("distance", "token")]
)
def test_held_out_losses_have_the_unit_of_the_claims_on_them(name, unit):
    study = STUDIES[name]
    assert study.experiment(study.settings()).loss_unit.en == f"nats per {unit}"


def test_the_figure_of_decisions_names_the_unit_and_every_arm_by_a_mark_of_its_own():
    arms = [f"arm {i}" for i in range(18)]
    trained = {arm: {"rate": 0.01, "rates": {"0.01": 1.0, "0.1": 2.0}} for arm in arms}
    numbers = {"values": [0.1, 0.2], "updates": 10, "margin": 0.1, "kind": "better"}
    case = {"name": ["", ""], "word": PREVIEW, "numbers": numbers}
    claims = [{"number": 1, "said": ["s", "s"], "cases": [case]}]
    figure = draw_differences({"study": "x", "claims": claims, "numbers": {"trained": trained}}, "nats per byte")
    rates = figure.axes[-1]
    assert rates.get_ylabel() == "held-out loss (nats per byte)"
    marks = {line.get_label(): (line.get_color(), line.get_marker()) for line in rates.lines}
    assert len({marks[arm] for arm in arms}) == len(arms)


def test_every_file_beside_the_table_is_a_study():
    folder = ROOT / "experiments" / "studies"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__", "table"}
    assert files == {study.settings.__module__.split(".")[-1] for study in STUDIES.values()}


def test_a_setting_that_was_given_is_kept_in_a_preview():
    given = scaling.ScalingSettings(preview=True, head_width=8)
    assert scaling.SCALING.resolve(given).head_width == 8
    assert command_of("scaling", scaling.SCALING, given).endswith("scaling --preview=true --head_width=8")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["scalling"], "unknown study; got 'scalling'.*Did you mean 'scaling'"),
        ([], "no study is named.*scaling, permutation"),
        (["scaling", "--widht=16"], "unknown flag --widht. Did you mean --width"),
        (["all", "--width=16"], "unknown flag --width"),
        (["permutation", "--seeds=1,1"], "--seeds is out of range.*different whole numbers"),
        (["scaling", "--width=x"], "--width has the wrong type"),
        (
            ["ablation", "--claims=9"],
            "--claims names no trained claim; got 9; expected numbers of trained claims: 1, 2",
        ),
        (["translation"], "translation needs sentences.*train.de and train.en.*Point --data=DIR"),
        (["translation", "--data=nowhere"], "--data nowhere is not a folder.*Point --data=DIR"),
        (["prefixes", "--text=nowhere", "--updates=4"], "--text nowhere does not exist.*Point --text=PATH"),
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
    assert {path.name for path in tmp_path.iterdir()} == {
        "sinusoids.png",
        "sinusoids.json",
        "STUDIES.md",
        "STUDIES.zh.md",
    }
    assert "Each position has a code of its own" in capsys.readouterr().out


@dataclasses.dataclass(frozen=True)
class CoinSettings(StudySettings):
    """Counts."""

    count: int = setting(50, "how far")


def test_all_runs_each_study_small_in_a_preview(tmp_path, monkeypatch, capsys):
    measured_with = []

    def measure(settings):
        measured_with.append(settings.count)
        return {"count": settings.count}

    def judge(numbers):
        return [claim(HOLDS if numbers["count"] == 3 else FAILS)]

    coin = Study(
        same("Coins"), CoinSettings, lambda numbers: panels(1)[0], "no time", measure, judge, preview={"count": 3}
    )
    rows = {"coin": coin, "other": dataclasses.replace(coin, preview={}), "last": dataclasses.replace(coin, needs="x")}
    monkeypatch.setattr(command, "STUDIES", rows)
    main(["all", "--preview", f"--workdir={tmp_path}"])
    assert measured_with == [3, 50]
    printed = capsys.readouterr().out
    assert "  1. a\n     holds\n       m" in printed
    assert "last: left out, since it needs --x" in printed
    page = (tmp_path / "STUDIES.md").read_text()
    assert page.count("**holds**") == page.count("**fails**") == 2
    assert "`python -m experiments.studies coin --preview=true`" in page


@pytest.mark.more
def test_lanes_are_seeds_and_rates_that_share_no_state(tiny_text):
    learn = jnp.asarray(text.corpus(tiny_text)[0])
    shape = dict(vocab_size=256, num_layers=1, width=6, num_heads=1)
    model = transformer.build(dict(architecture="decoder_only", **shape))
    trainer = Trainer(model, text.windows(2, 5), learn, OPTIMIZER, lanes=4)
    options = dict(steps=4, warmup=1)
    together = trainer([(1e-3, 3), (1e-3, 8), (1e-2, 3), (1e-2, 8)], **options)
    loss_ARU = together.loss_RU.reshape(2, 2, 4)
    assert np.all(loss_ARU[0, :, 0] == loss_ARU[1, :, 0])  # one seed: same parameters, same batch
    assert np.all(loss_ARU[0, :, -1] != loss_ARU[1, :, -1])
    assert np.all(loss_ARU[:, 0] != loss_ARU[:, 1])
    alone = trainer([(1e-2, 8)], **options)
    np.testing.assert_array_equal(alone.loss_RU[0], loss_ARU[1, 1])
    counted = readings_of(lambda params, _: {"n": sum(jnp.sum(x) for x in jax.tree.leaves(params))})
    found = arrived(counted(together.params, ()), np.array([True, True, True, False]))
    mine = sum(float(jnp.sum(x[2])) for x in jax.tree.leaves(together.params))
    np.testing.assert_allclose(found["n"][2], mine, rtol=1e-4)
    assert np.isnan(found["n"][3])


@pytest.mark.more
def test_a_study_that_is_stopped_goes_on_where_it_was(tmp_path, capsys):
    small = dict(length=8, vocabulary=4, width=8, batch=2, updates=4, max_seeds=1, long_seeds=0, claims=(2,))
    study, settings = induction.INDUCTION, induction.InductionSettings(**small, workdir=str(tmp_path))
    record = run_study("induction", study, settings)
    lines = (tmp_path / "induction.jsonl").read_text().splitlines()
    assert [case["word"] for case in record["claims"][1]["cases"]] == ["preview"]
    capsys.readouterr()
    (tmp_path / "induction.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    again = run_study("induction", study, settings)
    assert again["claims"] == record["claims"]
    assert capsys.readouterr().out.count(" updates, rate") == 1
    assert (tmp_path / "induction.jsonl").read_text().count("\n") == len(lines)
    store = Store(tmp_path / "induction.jsonl")
    judged = [claim_json(claim, None) for claim in judge_record(study, plain(again), store)]
    assert judged == again["claims"]


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


def test_the_galleries_are_the_pages_of_their_records(tmp_path):
    write_gallery(tmp_path / "STUDIES.md", ROOT / "docs" / "studies", STUDIES)
    for name in ("STUDIES.md", "STUDIES.zh.md"):
        made = (tmp_path / name).read_text(encoding="utf-8")
        folder = os.path.relpath(ROOT / "docs" / "studies", tmp_path)
        assert (ROOT / name).read_text(encoding="utf-8") == made.replace(folder, "docs/studies")


@pytest.mark.parametrize("name", [name for name, path in RECORDS.items() if path.exists()])
def test_the_claims_of_the_gallery_are_those_of_its_numbers_and_lanes(name):
    record = read(RECORDS[name])
    judged = judge_record(STUDIES[name], record, Store(RECORDS[name].with_suffix(".jsonl")))
    for claim, made in zip(judged, record["claims"], strict=True):
        found = claim_json(claim, None)
        assert {key: found[key] for key in found if key != "changed"} == {k: made[k] for k in found if k != "changed"}


def test_no_verdict_of_the_gallery_rests_on_fewer_than_four_seeds_or_a_failed_gate():
    for path in RECORDS.values():
        for made in read(path)["claims"] if path.exists() else ():
            for case in made["cases"]:
                values = case["numbers"].get("values")
                if values is not None and case["word"] not in (NOT_TESTED, PREVIEW):
                    assert len(values) >= 4, (made["said"], case["name"])
                    assert "no better than" not in case["reason"][0]


def test_the_tables_of_both_languages_have_the_same_numbers_and_words():
    english, chinese = (
        [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
        for name in ("STUDIES.md", "STUDIES.zh.md")
    )
    number = re.compile(r"\d[\d.,e-]*\d|\d")
    back = {text.zh: text.en for text in WORDS.values()}
    for line, other in zip(english, chinese, strict=True):
        assert sorted(number.findall(line)) == sorted(number.findall(other)), line
        words, others = (re.findall(r"\*\*(.*?)†?\*\*", row) for row in (line, other))
        assert words == [back[word] for word in others], line


def test_the_gallery_shows_studies_that_exist_with_their_pictures():
    page = (ROOT / "STUDIES.md").read_text(encoding="utf-8")
    shown = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert shown
    assert set(shown) <= set(STUDIES)
    assert re.findall(r"python -m experiments\.studies (\w+)", page).count(shown[0]) == 1
    for picture in re.findall(r"\]\(([\w/]+\.png)\)", page):
        assert (ROOT / picture).stat().st_size < 150_000
