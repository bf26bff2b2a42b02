"""The command that trains a model from a recipe; the same command again continues where it stopped."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments import settings
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.parallel.processes import asked_for, connect, disconnect, given
from experiments.runs.init_from import wish_of, with_settings
from experiments.runs.report import train_and_report
from experiments.runs.stored_config import earlier_config
from experiments.runs.supervised import Parent, ends_at_once, supervised
from experiments.runs.supervisor import Supervisor
from experiments.runs.verify_resume import verify
from transformer.schema import Check, at_least, not_empty, setting


@dataclasses.dataclass(frozen=True)
class TrainFlags:
    """Train a model from a recipe:

    python -m experiments.train --config=configs/dates.py --workdir=runs/dates

    The loss of a progress line is that of its step's batch; training lines of metrics.jsonl, and the curve in the
    picture, are means over the steps since the line before. Both are with dropout on, evaluations without.

    Ctrl-C or SIGTERM stops after the step and saves; Ctrl-C again ends at once. The same command again continues from
    the newest checkpoint, and ends with the same bits. To prove it:

    python -m experiments.train --config=configs/dates.py --verify_resume

    With more --config.training.steps or training.patience a finished run goes on, to the bit where its learning-rate
    schedule allows it; a line is printed about it. --init_from starts a new run from the parameters of another one, or
    of parts of it (encoder, decoder.blocks.self, embedding), with its tokenizer; optimizer and step start anew. It
    takes a directory of a checkpoint of Hugging Face too, whose settings of the model replace those of the recipe.
    """

    config: str = setting(REQUIRED, "recipe: a Python file with get_config(), or the name of one in configs/")
    workdir: str = setting(REQUIRED, "working directory for checkpoints, metrics and pictures")
    verify_resume: bool = setting(
        False, "proof that a killed run continues exactly, in place of training; see --verify_resume --help"
    )
    processes: str = setting("1", "number of processes of this run, or auto: those of the environment, or of a cluster")
    process: int | None = setting(None, "index of this process, from 0", check=at_least(0, 2**31 - 1))
    coordinator: str | None = setting(None, "HOST:PORT of process 0, which the others reach", check=not_empty)
    force: bool = setting(False, "training though the memory is too small for what the run needs")
    init_from: str | None = setting(
        None,
        "run whose parameters a new run starts from: WORKDIR, or WORKDIR@best, @last or @STEP; or the directory of a"
        " checkpoint of Hugging Face; none: random ones",
        check=not_empty,
    )
    init_only: tuple[str, ...] = setting((), "parts of the parameters that --init_from takes, as A,B; none: all")
    init_skip: tuple[str, ...] = setting((), "parts of the parameters that start fresh beside --init_from, as A,B")
    trust_code: bool = setting(False, "consent to run code that the config.json of --init_from names by a dotted path")


@dataclasses.dataclass(frozen=True)
class VerifyFlags:
    """Prove that a run which is killed and continued ends with the bits of one that never was killed:

    python -m experiments.train --config=configs/dates.py --verify_resume

    One process trains 2n steps. A second one does the same, is killed (SIGKILL) once its checkpoint of step n is
    complete, and a third one continues it to 2n. Then parameters, optimizer state, averages, seed and step, the next
    batches, and metrics.jsonl (without wall times) are compared bit for bit. Exit code 0: all are the same; 1: the
    first difference is printed. All files are in a temporary directory (under TMPDIR), which is removed.

    The updates are the recipe's own, but training.steps is 2n, evaluations come after n and 2n, and lines of metrics
    every few steps. To save time, no event files are written, and unless flags set them, an evaluation has 64 examples
    where they are generated, and answers of 1 token.
    """

    config: str = setting(REQUIRED, "recipe: a Python file with get_config(), or the name of one in configs/")
    verify_resume: bool = setting(
        True, "proof of resuming, in place of training", check=Check(bool, "true, or left out")
    )
    verify_steps: int = setting(10, "number n of steps before the kill, and after it", check=at_least(1, 2**30 - 1))
    workdir: str | None = setting(
        None,
        "working directory",
        check=Check(lambda _: False, "none, since --verify_resume trains in a temporary one"),
    )


def main(argv: Sequence[str]) -> int:
    verifying = any(word.partition("=")[0] == "--verify_resume" for word in argv)
    helping = any(word.partition("=")[0] in ("--help", "-h") for word in argv)
    leave: Callable[[], object] = disconnect
    if (wish := None if verifying or helping else asked_for(argv)) is not None:
        if not supervised():
            workdir = given(argv, ("workdir",)).get("workdir")
            supervisor = Supervisor(None if workdir is None else Path(workdir), wish)
            return supervisor.run([sys.executable, "-m", "experiments.train", *argv])
        parent = Parent()  # before it waits for the others, which may be long
        parent.report(connect(wish), wish.coordinator)
        leave = parent.leave
    flags, overrides = parse(argv, VerifyFlags if verifying else TrainFlags)
    if verifying:
        return verify(flags.config, overrides, flags.verify_steps)
    recipe, init = with_settings(settings.load_recipe(flags.config), wish_of(flags), Path(flags.workdir))
    config, notes = settings.resolve(recipe, overrides, earlier_config(Path(flags.workdir)))
    use_compilation_cache()
    command = ["experiments.train", *argv]
    return train_and_report(config, Path(flags.workdir), notes, command, force=flags.force, init=init, leave=leave)


if __name__ == "__main__":
    with ends_at_once():
        run(main)
