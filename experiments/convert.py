"""The command that writes a run in another format, and makes a run of a checkpoint of Hugging Face."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments import settings
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.converting.formats import FORMATS, write
from experiments.converting.new_run import write_run
from experiments.runs.init_from import with_settings
from experiments.runs.origin import InitFrom
from experiments.storage.workdir_checks import refuse_unwritable_name
from transformer.errors import problem
from transformer.schema import not_empty, setting


@dataclasses.dataclass(frozen=True)
class ConvertFlags:
    """Write a trained model in another format:

    python -m experiments.convert --workdir=runs/dates --to=stablehlo --output=exported

    hugging_face: config.json, model.safetensors and, where a file can hold it, the tokenizer, as transformers loads
    them. stablehlo: the programs of the model and of its decoding, which JAX runs without this library; programs.json
    in it names their inputs and outputs.

    Or make a run at step 0 of a checkpoint of Hugging Face, which evaluate, generate and explore read, and which
    train continues. Settings of the model are the checkpoint's; the recipe has the task and its data:

    python -m experiments.convert --from=bert --config=configs/trec.py --workdir=runs/bert

    Nothing is written over, and nothing stays in part.
    """

    workdir: str = setting(REQUIRED, "working directory of the training; of the new run with --from")
    to: str | None = setting(None, "format of the output", allowed=tuple(FORMATS))
    output: str | None = setting(None, "path of the new directory for --to", check=not_empty)
    family: str | None = setting(
        None,
        "family (model_type) of --to=hugging_face; none: the first that has the model's settings",
        check=not_empty,
    )
    checkpoint: str | None = setting(
        None, "checkpoint for --to: best, last or a step; none: the mean by training.average_last, else best"
    )
    trust_code: bool = setting(False, "consent to run code that the run's config.json names by a dotted path")
    from_: str | None = setting(
        None, "directory of a checkpoint of Hugging Face, from which a run is made", check=not_empty
    )
    config: str | None = setting(
        None, "recipe of --from: a Python file with get_config(), or the name of one in configs/", check=not_empty
    )


READ = {"to": ("to", "output", "family", "checkpoint", "trust_code"), "from": ("from_", "config")}
"""Direction -> the flags that it reads beside --workdir; the first two must be given."""


def main(argv: Sequence[str]) -> None:
    flags, overrides = parse(argv, ConvertFlags)
    direction = direction_of(flags, [name for name, _ in overrides])
    workdir = Path(flags.workdir)
    use_compilation_cache()
    if direction == "to":
        lines, target = write(flags.to, workdir, flags.output, flags.family, flags.checkpoint, flags.trust_code)
    else:
        refuse_unwritable_name(workdir)
        wish = InitFrom(flags.from_, flag="from")
        recipe, wish = with_settings(settings.load_recipe(flags.config), wish)
        config, notes = settings.resolve(recipe, overrides)
        lines, target = write_run(config, wish, workdir, notes), workdir
    for line in lines:
        print(line)
    print(f"written: {target}")


def direction_of(flags: ConvertFlags, overrides: Sequence[str]) -> str:
    """Return the direction: "to" another format, or "from" one.

    Raises:
        UserError: both or neither, a flag that it does not read, or one that it lacks.
    """
    given = [name for name in READ if getattr(flags, READ[name][0]) is not None]
    if len(given) != 1:
        got = "both" if given else "neither"
        expected = "--to=FORMAT and --output=DIR, or --from=DIR and --config=RECIPE"
        raise problem("one of --to and --from must be given", got=got, expected=expected)
    (direction,) = given
    (other,) = READ.keys() - {direction}
    needed = READ[direction][1]
    if getattr(flags, needed) is None:
        raise problem(f"--{needed} must be given beside --{direction}", do=f"Add --{needed}={needed.upper()}.")
    unread = [name for name in READ[other] if getattr(flags, name)]
    unread += [f"config.{name}" for name in overrides if direction == "to"]
    if unread:
        raise problem(f"--{unread[0]} is not read beside --{direction}", do="Leave it out.")
    return direction


if __name__ == "__main__":
    run(main)
