"""The command that draws the attention weights of a trained model while it answers a text of the user."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import parse, run
from experiments.cli.run_flags import RunFlags
from experiments.data.config import PATHS
from experiments.runs.drawing import check_layer, draw_attention
from experiments.runs.open_run import NO_EXAMPLE, answer_text, example_text, open_run
from transformer.errors import problem
from transformer.schema import at_least, not_empty, setting


@dataclasses.dataclass(frozen=True)
class ExploreFlags(RunFlags):
    """Draw a model's attention: python -m experiments.explore --workdir=runs/dates --input="20. November 2026"

    Where the data of an example has moved, --config.data.path=PATH names its new place.
    """

    input: str | None = setting(None, "text to answer; none: an example of the data")
    layer: int = setting(
        -1, "index of the layer to draw; negative: counted from the end, -1 the last", check=at_least(-10_000, 9_999)
    )
    output: str | None = setting(
        None,
        "path of the PNG; none: plots/explore.png in the working directory, or plots/explore_layer_0.png for --layer=0",
        check=not_empty,
    )


def main(argv: Sequence[str]) -> None:
    flags, paths = parse(argv, ExploreFlags, overridable=PATHS)
    if paths and flags.input is not None:
        raise problem(f"--config.{paths[0][0]} is not read where --input gives the text", do="Leave one of them out.")
    name = "explore.png" if flags.layer == -1 else f"explore_layer_{flags.layer}.png"
    path = Path(flags.output) if flags.output else Path(flags.workdir) / "plots" / name
    if path.suffix != ".png":
        raise problem("--output is not a PNG", got=str(path), expected="a name that ends in .png")
    use_compilation_cache()
    opened = open_run(
        flags.workdir, flags.checkpoint, read_data=flags.input is None, trust_code=flags.trust_code, paths=paths
    )
    check_layer(opened.experiment.model, flags.layer)
    source = example_text(opened.experiment) if flags.input is None else flags.input
    if source is None:
        raise problem(NO_EXAMPLE, do="Give --input=TEXT.")
    opened.check([source])
    ids, answer = answer_text(opened, source)
    print(f"{source} -> {answer}", flush=True)  # before the picture, which may be large
    draw_attention(opened, source, ids, path, flags.layer)
    print(f"picture: {path}")


if __name__ == "__main__":
    run(main)
