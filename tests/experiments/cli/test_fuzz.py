"""Random command lines: none ends in a traceback, a long message, a wait or a directory that is half written."""

import contextlib
import io
import random
import time
from pathlib import Path

import pytest

from experiments import bench, compare, convert, evaluate, explore, generate, plan, settings, sweep, train
from experiments.cli import flags
from experiments.sweeping.grammar import FLAG
from transformer import schema

pytestmark = [pytest.mark.more, pytest.mark.usefixtures("shapes_once")]

LINES = 1000
SECONDS = 10
"""Longest time of one command line up to the point where it would train, in a process that has started."""

RECIPE = str(Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py")
COMMANDS = {
    "train": (train, train.TrainFlags),
    "verify": (train, train.VerifyFlags),
    "plan": (plan, plan.PlanFlags),
    "sweep": (sweep, sweep.SweepFlags),
    **{f"bench {name}": (bench, case.flags) for name, case in bench.CASES.items()},
    "evaluate": (evaluate, evaluate.EvaluateFlags),
    "generate": (generate, generate.GenerateFlags),
    "explore": (explore, explore.ExploreFlags),
    "compare": (compare, compare.CompareFlags),
    "convert": (convert, convert.ConvertFlags),
}

STOPS = [
    (train, "verify"),
    (plan, "show_plan"),
    (plan, "print_sweep_plan"),
    (sweep, "submit"),
    (evaluate, "open_run"),
    (generate, "open_run"),
    (explore, "open_run"),
    (convert, "write"),
    (convert, "write_run"),
    ("experiments.benchmarks.report.Report", "begin"),
    ("experiments.runs.session", "open_workdir"),
    ("experiments.runs.supervisor.Supervisor", "run"),
    ("experiments.sweeping.session", "open_storage"),
]
"""Places where a command begins to write, to compile or to start processes."""

NASTY = [
    *("", " ", "none", "None", "true", "false", "nan", "inf", "-inf", "-1", "0", "1", "2", "3", "8", "1e3", "1e-3"),
    *("0.5", "1e308", "1e-320", "1e999", "-0.0", "2147483647", "2147483648", "4294967296", str(2**63), "9" * 5000),
    *("1_000", "0x10", "١٢", "²", "1,2", "1,none", ",", ",,,", "a,b", "0:5", "5:0", "0:5:2"),
    *("0:inf", "nan:1", "0:100000000000", "os:system", "math:sqrt", "this:d"),
    *("log:1e-4:1e-2", "log:0:1", "log:nan:inf", "linear:0:1e999", "linear:1:2", "log:1e-400:1", "a+b", "1+2,3+4"),
    *("@", "=", ":", "a:", ":a", "no.such:f", "../../etc/passwd", "/dev/zero", "/proc/self/mem", "~", "/", "{}", "%s"),
    *("\udcff", "é", "日本", "\x1b[31m", "\n", "\t", "[bold]x[/bold]", ":smile:", "a" * 300, "b" * 100_000),
]


class ReachedError(BaseException):
    """Error in place of what would write; no handler of the commands catches it."""


def value(random_: random.Random, leaf: schema.Setting, meant: bool) -> str:
    """A text for a setting: one that it allows, a bound, one beside it, or any; the default where it is meant well."""
    kind = random_.random() * (0.6 if meant else 1.0)
    if kind < 0.25 and leaf.allowed:
        return random_.choice(sorted(leaf.allowed))
    bounds = getattr(leaf.check, "bounds", None)
    if kind < 0.5 and bounds:
        return schema.show(leaf.part_type(random_.choice(bounds)) + (0 if meant else random_.choice((0, 1, -1))))
    if kind < 0.6:
        return schema.show(leaf.default) if not isinstance(leaf.default, flags.Required) else "x"
    return random_.choice(NASTY)


def slip(random_: random.Random, text: str) -> str:
    """A name with a slip: a letter left out, doubled or changed, or a part left out."""
    i = random_.randrange(len(text))
    without, doubled = text[:i] + text[i + 1 :], text[:i] + text[i] + text[i:]
    return random_.choice([without, doubled, text.upper(), text.split(".")[-1], f"{text}s"])


def command_line(random_: random.Random, workdir: Path) -> tuple[str, list[str]]:
    """A command and its words, most of which are meant and some of which are not."""
    name = random_.choice([*COMMANDS, "train", "train", "sweep"])
    own = list(flags.flags_of(COMMANDS[name][1]).values())
    every = list(schema.settings(settings.Config).values())
    words = name.split()[1:] if name.startswith("bench") else {"verify": ["--verify_resume"]}.get(name, [])
    given = {leaf.name for leaf in own}
    meant = random_.random() < 0.5
    if "config" in given and random_.random() < 0.9:
        words.append(f"--config={RECIPE}")
    if "workdir" in given and random_.random() < 0.9 and name != "verify":
        words.append(f"--workdir={workdir}")
    for _ in range(random_.randrange(4)):
        leaf = random_.choice([leaf for leaf in own if leaf.name not in ("config", "workdir")] or own)
        flag = leaf.name if meant or random_.random() < 0.9 else slip(random_, leaf.name)
        words.append(f"--{flag}={value(random_, leaf, meant)}" if meant or random_.random() < 0.8 else f"--{flag}")
    for _ in range(random_.randrange(4)):
        leaf = random_.choice(every)
        setting = leaf.name if meant or random_.random() < 0.9 else slip(random_, leaf.name)
        start = FLAG if name in ("sweep", "plan") and random_.random() < 0.5 else "--config."
        words.append(f"{start}{setting}={value(random_, leaf, meant)}")
    if not meant and random_.random() < 0.2:
        words.append(random_.choice(NASTY))
    return name, words


def outcome(main, words: list[str]) -> tuple[int | None, str]:
    """The exit code, None where the command would have begun to write, and what it printed as an error."""
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        try:
            flags.run(main, words)
        except ReachedError:
            return None, error.getvalue()
        except SystemExit as stop:
            return stop.code, error.getvalue()
    raise AssertionError("a command returned")


def test_random_command_lines_end_in_a_line_or_where_they_would_start(tmp_path, monkeypatch, seed):
    random_ = random.Random(seed)

    def stop(*_, **__):
        raise ReachedError

    for module, name in STOPS:
        place = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{place}.{name}", stop)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("x\n"))
    monkeypatch.setattr("experiments.sweeping.lanes.jax.config.update", lambda *_: None)
    codes = {}
    for number in range(LINES):
        workdir = tmp_path / "run"
        name, words = command_line(random_, workdir)
        about = f"seed {seed}, line {number}: {name} {[word[:200] for word in words]}"
        began = time.monotonic()
        try:
            code, error = outcome(COMMANDS[name][0].main, words)
        except Exception as broken:
            raise AssertionError(f"a traceback of {about}") from broken
        seconds = time.monotonic() - began
        codes[code] = codes.get(code, 0) + 1
        assert seconds < SECONDS, f"{seconds:.0f} s: {about}"
        assert code in (None, 0, 2), f"code {code}: {about}"
        assert max(map(len, error.split("\n"))) <= 2050, f"a message of {len(error)} characters: {about}"
        assert not list(tmp_path.iterdir()), f"{list(tmp_path.iterdir())} is left by {about}"
    print(codes)
    assert codes.get(None, 0) > LINES / 30, codes
    assert codes[2] > LINES / 4, codes
