"""The config of an earlier run, read from its config.json: data, which runs no code without consent.

flag or recipe of this command line    the user's own wish: imported
config.json that names code            imported with `trust_code` alone
"""

from pathlib import Path
from typing import Any

from experiments import settings
from experiments.storage.workdir import read_record
from transformer import schema
from transformer.errors import UserError, problem


def stored_config(workdir: Path, *, trust_code: bool = False) -> tuple[Any, dict[str, Any]]:
    """Read the config of a run, and the record in config.json that holds it.

    Args:
        trust_code: consent to import the code that the file names.

    Raises:
        UserError: no run there, a damaged file, a setting that this version does not have or allow, or code without
            consent.
    """
    record = read_record(workdir)
    path = Path(workdir).absolute() / "config.json"
    try:
        config = settings.from_stored(record["config"])
    except UserError as error:
        raise UserError(f"in {path}: {error}") from error
    require_consent(config, path, trust_code)
    return config, record


def require_consent(config: Any, file: Path, trust_code: bool) -> None:
    """Raise a UserError that names the code of a stored config, unless there is consent to run it.

    Args:
        config: any instance of a schema whose values came from a file.
        file: the file, for the error.
    """
    named = {} if trust_code else schema.named_code(config)
    if named:
        raise problem(
            f"{file} names code of Python, which would be run: "
            + ", ".join(f"{name} = {path}" for name, path in named.items()),
            do="Add --trust_code (in Python trust_code=True) if you trust the file and that code.",
        )
