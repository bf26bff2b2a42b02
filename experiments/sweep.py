"""The command that sweeps settings: many trials in one program, many workers on one study."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import parse, run
from experiments.cli.table_output import write_table
from experiments.storage.table_files import TableFile
from experiments.sweeping.finishing import finish_trial
from experiments.sweeping.flags import SweepFlags
from experiments.sweeping.grammar import split_flags
from experiments.sweeping.launch import submit
from experiments.sweeping.session import run_sweep
from transformer.errors import problem


def main(argv: Sequence[str]) -> int:
    words, space = split_flags(argv)
    flags, overrides = parse(words, SweepFlags)
    if flags.slurm_options is not None and flags.workers is None and not flags.slurm:
        do = "Add --slurm, or leave it out."
        raise problem("--slurm_options is not read by this process alone", got=flags.slurm_options, do=do)
    table = TableFile(flags.output)
    if flags.finish is not None:
        for name in ("workers", "slurm", "output"):
            if getattr(flags, name):
                expected, do = "one run of this process, which writes no table", "Leave it out."
                raise problem(f"--{name} is not read with --finish", got=getattr(flags, name), expected=expected, do=do)
        use_compilation_cache()
        return finish_trial(flags, overrides, space, argv)
    if flags.workers is not None or flags.slurm:
        return submit(flags, argv)
    use_compilation_cache()

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        write_table(table, rows, "sweep", argv)

    return run_sweep(flags, overrides, space, write if table else None)


if __name__ == "__main__":
    run(main)
