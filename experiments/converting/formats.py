"""The table of formats in which a run is written: name -> function."""

import os
from pathlib import Path

from experiments.cli.python_words import in_python
from experiments.converting.hugging_face import write_hugging_face
from experiments.converting.stablehlo import write_stablehlo
from experiments.runs.open_run import open_run
from experiments.runs.python import folder
from transformer.errors import find_row, problem

FORMATS = {"hugging_face": write_hugging_face, "stablehlo": write_stablehlo}
"""Name of a format -> a function of (run, output, **settings) that writes it and returns lines."""

FAMILIES_OF = ("hugging_face",)
"""Formats that have families."""


def write(
    to: str,
    workdir: Path,
    output: str | os.PathLike[str],
    family: str | None = None,
    checkpoint: str | None = None,
    trust_code: bool = False,
) -> tuple[list[str], Path]:
    """Write a run in another format; return lines about what is not written, and the directory.

    Args:
        to: a row of FORMATS.
        workdir: that of the run; its data is not read.
        output: a new directory.
        family: row of `transformer.interop.FAMILIES`; None: the first that has the model's settings.
        checkpoint: "best", "last" or a step; None: as `open_run`.
        trust_code: consent to run code that the run's config.json names.

    Raises:
        UserError: an unknown format or family, no run or no such checkpoint, an output that is there, or a model that
            the format does not have.
        OSError: it cannot be written.
    """
    row = find_row("format", FORMATS, to)
    if family is not None and to not in FAMILIES_OF:
        raise problem(f"--family is not read beside --to={to}", got=family, do="Leave it out.")
    if os.path.lexists(output):
        raise problem(f"--output {output} is there already", expected="a new directory", do="Choose another.")
    run = open_run(workdir, checkpoint, read_data=False, trust_code=trust_code)
    own = {"family": family} if to in FAMILIES_OF else {}
    return row(run, output, **own), Path(output)


@in_python
def convert(
    workdir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: str = "hugging_face",
    family: str | None = None,
    checkpoint: str | int | None = None,
    trust_code: bool = False,
) -> list[str]:
    """Write a run in another format.

    Args:
        workdir: that of the training.
        output: a new directory.
        to: "hugging_face", as transformers loads it, or "stablehlo", programs that JAX runs without this library.
        family: of Hugging Face (model_type); None: the first that has the model's settings.
        checkpoint: "best", "last" or a step; None: as `open_run`.
        trust_code: consent to run code that the run's config.json names.

    Returns:
        Lines about what is not written, such as a tokenizer that no file of Hugging Face can hold.

    Raises:
        UserError: no run there, an output that is there, or a model that the format does not have.
        OSError: a full or read-only disk.

    >>> api.convert("runs/x", "exported", to="stablehlo")  # doctest: +SKIP
    """
    at = None if checkpoint is None else str(checkpoint)
    return write(to, folder(workdir), folder(output), family, at, trust_code)[0]
