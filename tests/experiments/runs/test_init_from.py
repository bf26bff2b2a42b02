"""Claims about runs that start from the parameters of another: which arrays, which tokenizers, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import settings
from experiments.runs import report
from experiments.runs.init_from import InitFrom, check_fit, first_states, read_origin
from experiments.runs.open_run import open_run
from experiments.storage.checkpoint_format import read_arrays
from experiments.storage.workdir import Start, open_workdir, read_record
from experiments.train import main
from experiments.training.experiment import Experiment, set_up
from tests.fixtures.commands import fails
from tests.fixtures.stored_run import make_run, pairs, put_setting
from tests.fixtures.tiny_sweep import recipe
from transformer.errors import UserError


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A run of one tiny decoder with checkpoints of steps 1 and 2, which differ."""
    folder = tmp_path_factory.mktemp("origin")
    make_run(folder / "run", pairs(folder / "pairs.tsv"))
    return folder / "run"


def changed(origin: Path, **changes: Any) -> Any:
    """The config of the origin with other settings, by `section__name`."""
    values = read_record(origin)["config"]
    for name, value in changes.items():
        section, _, last = name.partition("__")
        values[section][last] = value
    values["model"]["vocab_size"] = None
    return settings.from_json_dict(values)


def begun(origin: Path, config: Any = None, workdir: Path = Path("absent"), **wish: Any) -> tuple[Experiment, Any, str]:
    """A new experiment from the origin, the origin as it was read, and the line about it."""
    found = read_origin(workdir, InitFrom(wish.pop("source", str(origin)), **wish))
    config = config or changed(origin)
    experiment = set_up(config, found.run_data(config))
    return experiment, found, check_fit(experiment, found)


def first_state(experiment: Experiment, found: Any) -> Any:
    """The state before the first update."""
    return first_states(experiment, found)(experiment.hyperparameters)


def named(tree: Any) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def test_all_parameters_are_those_of_the_checkpoint_and_optimizer_step_and_average_are_new(origin):
    config = changed(origin, training__ema_decay=0.9)
    experiment, found, line = begun(origin, config, source=f"{origin}@1")
    state = first_state(experiment, found)
    there = open_run(str(origin), "1", read_data=False)
    assert jax.tree.all(jax.tree.map(np.array_equal, state.params, there.params))
    assert jax.tree.all(jax.tree.map(np.array_equal, state.average, there.params))
    fresh = experiment.initial_state(experiment.hyperparameters)
    assert jax.tree.all(jax.tree.map(np.array_equal, state.optimizer, fresh.optimizer))
    assert int(state.step) == 0
    assert "step 1" in line
    assert "the tokenizer kept" in line
    assert found.record["step"] == 1
    assert read_origin(Path("absent"), InitFrom(f"{origin}@2")).record["checksum"] != found.record["checksum"]


def test_only_the_parts_that_are_named_are_taken_and_those_that_are_skipped_are_not(origin):
    skip = ("decoder.blocks.self.key",)
    experiment, found, line = begun(origin, only=("decoder",), skip=skip)
    state, there = named(first_state(experiment, found).params), found.source.params
    fresh = named(experiment.initial_state(experiment.hyperparameters).params)
    same = {name for name in there if np.array_equal(state[name], there[name])}
    assert same == {name for name in there if name.startswith("decoder.") and not name.startswith(skip[0])}
    assert all(np.array_equal(state[name], fresh[name]) for name in there if name not in same)
    assert "fresh: decoder.blocks.self.key, embedding" in line


def test_a_run_that_takes_arrays_over_tokens_keeps_the_tokenizer_whatever_its_data(origin, tmp_path):
    data = tmp_path / "other.tsv"
    data.write_text("".join(f"q{i} x\ty {i}\n" for i in range(30)), encoding="utf-8")
    config = changed(origin, data__path=str(data))
    kept, found, _ = begun(origin, config)
    assert kept.task.tokenizers.to_json() == found.source.tokenizers.to_json()
    own, found, line = begun(origin, config, skip=("embedding",))
    assert own.task.tokenizers.to_json() != found.source.tokenizers.to_json()
    assert "tokenizer" not in line


def test_another_tokenizer_is_refused_unless_its_arrays_start_fresh(origin):
    config = changed(origin, tokenizer__name="bytes")
    expected = r"another tokenizer.*got tokenizer.name 'bytes'; expected tokenizer.name 'characters'.*=embedding\."
    with pytest.raises(UserError, match=expected):
        begun(origin, config)
    assert begun(origin, config, skip=("embedding",))[0].config.tokenizer.name == "bytes"


def test_arrays_of_other_shapes_and_absent_ones_are_listed_with_the_flag_that_starts_them_fresh(origin):
    config = changed(origin, model__feed_forward_width=5, model__architecture="seq2seq")
    with pytest.raises(UserError) as error:
        begun(origin, config)
    lines = str(error.value).splitlines()
    assert "  decoder.blocks.feed_forward.down.kernel: (1, 16, 4) there, (1, 5, 4) in this model" in lines
    assert any(line.startswith("  decoder.blocks.cross.key.bias: absent there, ") for line in lines)
    flag = lines[-1].rpartition("--init_skip=")[2]
    experiment, _, line = begun(origin, config, skip=tuple(flag.split(",")))
    assert "fresh: " in line
    assert experiment.config.model.feed_forward_width == 5


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"only": ("decodr",)}, ["--init_only names a part", "'decodr'", "Did you mean decoder?"]),
        ({"only": ("feed_forward",)}, ["Did you mean decoder.blocks.feed_forward?"]),
        ({"skip": ("decoder.block",)}, ["--init_skip names a part", "Did you mean decoder.blocks?"]),
        ({"source": "{origin}@7"}, ["no checkpoint 7 in ", "there are 1, 2"]),
        ({"source": "{origin}@lst"}, ["unknown checkpoint; got 'lst'; expected best, last or a step"]),
        ({"source": "{origin}x"}, ["runx does not exist", "Did you mean ", "/run?"]),
        ({"source": "{origin}/checkpoints"}, ["holds no run", "@best, @last or @STEP"]),
    ],
)
def test_a_mistake_is_named(origin, wish, expected):
    wish = {name: value.format(origin=origin) if isinstance(value, str) else value for name, value in wish.items()}
    with pytest.raises(UserError) as error:
        begun(origin, **wish)
    for part in expected:
        assert part in str(error.value)


def test_code_that_the_origin_names_is_run_with_consent_alone(origin, tmp_path):
    shutil.copytree(origin, tmp_path / "run")
    put_setting(tmp_path / "run", "model.score", "tests.fixtures.own_scores:negative_distance")
    with pytest.raises(UserError, match=r"--init_from=.* names code of Python.*--trust_code"):
        begun(tmp_path / "run", changed(origin))


def test_the_flags_about_an_origin_are_read_with_one_alone(capsys, tmp_path):
    command = ["--config=configs/dates.py", f"--workdir={tmp_path / 'run'}"]
    assert "--init_only is not read without --init_from" in fails(main, [*command, "--init_only=encoder"], capsys)
    assert not (tmp_path / "run").exists()


def test_a_run_with_a_checkpoint_does_not_read_its_origin_and_keeps_to_it(origin, tmp_path):
    wish = InitFrom(f"{origin}@1", only=("decoder",))
    found = read_origin(tmp_path / "run", wish)
    config = json.loads(json.dumps(settings.to_json_dict(changed(origin))))
    record = found.record
    for made in (record, None):  # as a first start and a second one write it
        open_workdir(tmp_path / "run", config, differences=lambda *_: [], devices="", start=Start(origin=made)).close()
    for same in (wish, None):
        assert read_origin(tmp_path / "run", same).record == record
    for other in (wish._replace(source=f"{origin}@2"), wish._replace(only=()), wish._replace(skip=("embedding",))):
        with pytest.raises(UserError, match="was not started from"):
            read_origin(tmp_path / "run", other)

    moved = {**record, "checksum": 1}
    open_workdir(tmp_path / "run", config, differences=lambda *_: [], devices="", start=Start(origin=moved)).close()
    with pytest.raises(UserError, match="has changed since the run was started"):
        read_origin(tmp_path / "run", None)
    (tmp_path / "run" / "checkpoints" / "3").mkdir(parents=True)
    assert read_origin(tmp_path / "run", None) is None
    assert read_origin(tmp_path / "run", wish) is None

    open_workdir(tmp_path / "fresh", config, differences=lambda *_: [], devices="").close()
    with pytest.raises(UserError, match=r"was not started from.*expected no other run"):
        read_origin(tmp_path / "fresh", wish)


@pytest.mark.more
def test_a_run_trains_on_from_another_and_continues_when_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_run", lambda _: {})

    def trained(name: str, steps: int, init: InitFrom | None = None) -> dict[str, np.ndarray]:
        config, notes = settings.resolve(recipe(), [("training.steps", str(steps)), ("optimizer.schedule", "constant")])
        assert report.train_and_report(config, tmp_path / name, notes, ["experiments.train"], init=init) == 0
        return read_arrays(tmp_path / name / "checkpoints" / str(steps))

    trained("origin", 4)
    wish = InitFrom(f"{tmp_path / 'origin'}@last")
    whole = trained("whole", 6, wish)
    assert read_record(tmp_path / "whole")["origin"]["step"] == 4
    trained("parts", 3, wish)
    shutil.rmtree(tmp_path / "origin")
    parts = trained("parts", 6, wish)
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)
