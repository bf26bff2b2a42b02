"""The commands as functions: a run that is trained, opened, asked, measured, looked into and shown from Python."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import api, settings
from experiments.cli.recipes import load_recipe
from experiments.cli.values import resolve
from experiments.comparing.statistics import ratio_of, share_of
from experiments.training import reporter
from transformer import UserError

pytestmark = pytest.mark.usefixtures("shapes_once")

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "tests" / "fixtures" / "tiny_recipe.py"
SMALL = {
    "training": {"steps": 4, "accumulation": 1, "ema_decay": None, "output": {"evaluate_every": 2}},
    "training.output.tensorboard": False,
    "model.dropout": None,
    "data.num_buckets": 1,
}
TEXTS = ["3 March 2004", "May 2"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("api") / "run"


@pytest.fixture(scope="module")
def trained(workdir):
    return api.train(RECIPE, SMALL, workdir=workdir, progress=False)


@pytest.fixture(scope="module")
def run(trained, workdir):
    return api.open_run(workdir, checkpoint="last")


def test_training_returns_a_run_and_prints_nothing_without_progress(tmp_path, trained, workdir, capfd):
    again = api.train(RECIPE, SMALL, workdir=workdir, progress=False)
    assert not any(capfd.readouterr())
    assert (trained.step, trained.workdir, trained.config.model.width) == (4, workdir, 12)
    assert repr(trained) == f"Run: seq2seq on text_to_text, step 4 of 4, in {workdir}"
    assert again.step == 4


def test_going_on_under_other_flags_of_xla_warns_that_bits_may_differ(tmp_path, trained, workdir, monkeypatch):
    shutil.copytree(workdir, tmp_path / "run")
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} --xla_cpu_enable_fast_math=false")
    with pytest.warns(UserWarning, match="XLA_FLAGS have changed .* -> .*xla_cpu_enable_fast_math=false"):
        api.train(RECIPE, SMALL, workdir=tmp_path / "run", progress=False)


def test_progress_is_shown_on_standard_error(workdir, trained, capsys):
    shown = reporter.ProgressAlone(api_console())
    with shown.progress(4, 0) as progress:
        shown.event("step 2: validation loss 1")
        progress.update(4, loss=1.5)
    out, error = capsys.readouterr()
    assert not out
    assert error == "step 2: validation loss 1\nstep 4/4  loss 1.5000\n"


def api_console():
    from experiments.runs.python import error_console

    return error_console()


def test_progress_in_a_notebook_is_one_line_that_changes(monkeypatch):
    lines = []

    class Handle:
        def update(self, data, raw):
            lines.append(data["text/plain"])

    def display(data, raw, display_id):
        lines.append(data["text/plain"])
        return Handle()

    class ZMQInteractiveShell:
        pass

    class Module:
        get_ipython = staticmethod(ZMQInteractiveShell)

    Module.display = type("display", (), {"display": staticmethod(display)})
    monkeypatch.setitem(sys.modules, "IPython", Module)
    with reporter.ProgressAlone(None).progress(4, 0) as progress:
        progress.update(4, loss=1.5)
    assert lines == ["compiling", "step 4/4  loss 1.5000"]
    monkeypatch.setattr(Module, "get_ipython", staticmethod(lambda: None))
    assert reporter.notebook_display() is None


def test_an_opened_run_has_the_parameters_tokenizers_and_metrics_of_the_training(run, trained):
    leaves = zip(*(map(np.asarray, _leaves(each.params)) for each in (run, trained)), strict=True)
    assert all(np.array_equal(one, other) for one, other in leaves)
    assert run.config == trained.config
    assert run.tokenizers.source.encode("3 March").size == 7
    assert [(line["step"], line["split"]) for line in run.metrics][-2:] == [(4, "validation"), (4, "test")]
    assert run.model.config.width == 12


def _leaves(params):
    import jax

    return jax.tree.leaves(params)


def test_a_run_answers_texts_with_their_tokens(run):
    answers = run.predict(TEXTS)
    assert len(answers) == 2
    for answer in answers:
        assert len(answer.tokens) == len(answer.ids)
        assert answer.text == run.tokenizers.target.decode(answer.ids)
    with pytest.warns(UserWarning, match="read as unknown: ξ") as warned:
        run.predict(["ξ March", "May"])
    assert {one.filename for one in warned} == {__file__}
    evaluation = run.trained.evaluation()
    assert run.trained.evaluation() is evaluation, "programs would compile for each call"


def test_scores_are_those_of_training_each_within_its_interval(run):
    values = run.evaluate("test")
    last = run.metrics[-1]
    assert list(values) == ["exact_match", "loss", "accuracy", "perplexity", "bits_per_byte"]
    for name, value in values.items():
        assert float(value) == pytest.approx(last[name], rel=1e-5)
        assert value.low <= value.value <= value.high
        assert value.count == 20
    assert values["loss"].low < values["loss"].high
    assert values["perplexity"].low == pytest.approx(np.exp(values["loss"].low))
    assert re.fullmatch(r"\d+\.\d{4} \(\d+\.\d{4} to \d+\.\d{4}, 20 examples\)", str(values["loss"]))


def test_the_interval_of_a_share_is_wilsons_and_that_of_a_ratio_covers_as_often_as_it_should():
    # Wilson's interval of 8 of 10, as in Newcombe 1998, table I's formula: 0.490 to 0.943.
    assert share_of(8, 10)[1:3] == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share_of(0, 10)[:2] == (0.0, 0.0)
    assert share_of(10, 10).high == 1.0
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 9, (400, 30)).astype(float)
    sums = sizes * draw.normal(2.0, 1.0, sizes.shape)
    found = [ratio_of(*each) for each in zip(sums, sizes, strict=True)]
    assert 0.9 < np.mean([value.low <= 2.0 <= value.high for value in found]) < 0.98
    assert ratio_of(sums[0, :2], sizes[0, :2]).low is None


def test_captured_arrays_have_a_token_for_each_position(run):
    names = ["decoder.*.cross.weights", "encoder.0.self.key.1", "decoder.*.residual"]
    first, second = run.capture(TEXTS, names)
    weights = first[names[0]]
    assert weights.axes == "LNTS"
    assert weights.array.shape == (1, 3, len(weights.tokens["T"]), len(weights.tokens["S"]))
    assert weights.tokens["S"] == (*"3␣March␣2004", "<end>")
    assert weights.tokens["T"][0] == "<begin>"
    np.testing.assert_allclose(weights.array.sum(-1), 1.0, atol=1e-5)
    key = second[names[1]]
    assert (key.axes, key.array.shape, key.tokens) == ("LSH", (1, 6, 4), {"S": (*"May␣2", "<end>")})
    assert first[names[2]].axes == "LTD"


def test_a_notebook_shows_the_scores_the_curves_and_the_attention(run):
    shown = run._repr_mimebundle_()
    assert shown["text/plain"] == repr(run)
    assert "<td>exact_match</td>" in shown["text/html"]
    assert shown["text/html"].count('<img src="data:image/png;base64,') == 2


@pytest.mark.more
def test_the_lines_of_the_page_of_runs_run(run, workdir, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/guides/runs.md").read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "api.open_run" in block]
    assert sum(bool(line) for line in code.splitlines()) == 7
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code.replace('"runs/dates"', repr(str(workdir))), "runs.md", "exec"), names)
    assert (tmp_path / "attention.png").stat().st_size > 1000


def test_every_form_of_a_config_is_the_same_config():
    recipe = load_recipe(ROOT / "configs" / "dates.py")
    nested = {"optimizer": {"learning_rate": 0.01, "beta1": np.float32(0.5)}, "model.num_layers": 3}
    expected, _ = settings.resolve(
        recipe, [("optimizer.learning_rate", "0.01"), ("optimizer.beta1", "0.5"), ("model.num_layers", "3")]
    )
    for form in ("dates", ROOT / "configs" / "dates.py", recipe, settings.resolve(recipe)[0], recipe.to_dict()):
        assert resolve(form, nested)[0] == expected
    assert resolve({}, {"model": expected.model, "seed": np.int64(3)})[0].model == expected.model
    assert resolve({"tokenizer.shared": True, "data": {"source": "dates"}})[0] == settings.Config()


MISTAKES = {
    "an unknown setting": (
        lambda: api.train("dates", {"model.widht": 3}, workdir="x"),
        "unknown setting model.widht. Did you mean model.width?",
        'api.describe("model") lists',
    ),
    "a section": (
        lambda: api.train("dates", {"model": 3}, workdir="x"),
        "model is a section, not a setting",
        'api.describe("model") lists them',
    ),
    "text for a number": (
        lambda: api.train("dates", {"model.width": "64"}, workdir="x"),
        "model.width has the wrong type; got '64' (str); expected int",
        "whole number",
    ),
    "not read": (
        lambda: api.train("dates", {"optimizer": {"name": "sgd", "beta2": 0.5}}, workdir="x"),
        "optimizer.beta2 is not read by optimizer.name 'sgd'; got 0.5",
        "Leave it out",
    ),
    "not read by a dict": (
        lambda: api.train({"optimizer": {"name": "sgd", "beta2": 0.5}}, workdir="x"),
        "optimizer.beta2 is not read by",
        "got 0.5",
    ),
    "given twice": (
        lambda: api.train("dates", {"model.width": 3, "model": {"width": 4}}, workdir="x"),
        "model.width is given twice; got 3 and 4",
        "",
    ),
    "no dict": (lambda: api.train("dates", ["seed"], workdir="x"), "overrides is no dict of settings", "model.width"),
    "no recipe": (lambda: api.train("datse", workdir="x"), "recipe datse does not exist", "Did you mean dates?"),
    "a section for a config": (
        lambda: api.train(settings.Config().model, workdir="x"),
        "not a config",
        "Write {'model': ...}",
    ),
    "no workdir": (lambda: api.train("dates", workdir=None), "workdir is no path; got None (NoneType)", "folder"),
    "no run": (lambda: api.open_run("nowhere"), "nowhere does not exist", "Train first: api.train(RECIPE, workdir="),
    "section of the help": (lambda: api.describe("modle"), "unknown section 'modle'", "model"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_raises_an_error_in_the_words_of_python(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, what, do = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        call()
    assert what in str(caught.value)
    assert do in str(caught.value)
    assert "--" not in str(caught.value)
    assert not list(tmp_path.iterdir())


MISUSES = {
    "one text": (lambda run: run.predict("May 2"), "texts is one text; got 'May 2'; expected a list of texts"),
    "no text": (lambda run: run.predict([3]), "text 1 is no text; got 3 (int); expected str"),
    "a blank text": (lambda run: run.predict([" "]), "text 1 is empty"),
    "unknown decoding": (lambda run: run.predict(["a"], top=3), "unknown setting of decoding; got 'top'"),
    "decoding out of range": (lambda run: run.predict(["a"], top_k=0), "top_k is out of range; got 0"),
    "decoding not read": (lambda run: run.predict(["a"], strategy="greedy", top_k=3), "top_k is not read by strategy"),
    "seed": (lambda run: run.predict(["a"], seed=-1), "seed is out of range; got -1"),
    "unknown split": (lambda run: run.evaluate("tset"), "unknown split; got 'tset'"),
    "no example": (lambda run: run.evaluate(examples=0), "examples is out of range; got 0"),
    "one name": (lambda run: run.capture(["a"], "decoder.*.residual"), "names is one text"),
    "unknown activation": (lambda run: run.capture(["May 2"], ["decoder.*.wait"]), "unknown activation"),
    "no layer": (lambda run: run.draw_attention("May 2", layer=7), "no such layer; got 7"),
    "no checkpoint": (lambda run: api.open_run(run.workdir, 99), "no checkpoint 99 in"),
    "a word": (lambda run: api.open_run(run.workdir, "beste"), "unknown checkpoint; got 'beste'"),
    "place": (lambda run: api.open_run(run.workdir, paths={"data.path": "x"}), "data.path cannot be given for a run"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_mistake_with_a_run_raises_an_error_in_the_words_of_python(name, run):
    call, what = MISUSES[name]
    with pytest.raises(UserError) as caught:
        call(run)
    assert what in str(caught.value)
    assert "--" not in str(caught.value)


@pytest.mark.more
def test_a_run_that_is_opened_without_its_data_answers_and_has_no_scores(workdir, trained):
    run = api.open_run(workdir, "last", read_data=False)
    assert len(run.predict(TEXTS)) == 2
    with pytest.raises(UserError, match=r"opened without its data; got .*\. Open it with read_data=True"):
        run.evaluate()


def test_importing_the_package_and_its_functions_reaches_nothing_heavy_and_binds_no_command():
    code = "import sys, experiments, experiments.api; print(*vars(experiments)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names, modules = (set(line.split()) for line in done.stdout.splitlines())
    commands = {path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")} - {"api"}
    assert not names & commands
    assert not modules & {"jax", "flax", "numpy", "optax", "matplotlib", "rich"}
