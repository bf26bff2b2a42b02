"""Makes programs.json beside it: counts of the programs of each recipe, made tiny (see fixtures/programs.py).

    python -m tests.golden.make_programs          some minutes

Its diff is the change of a commit. `claims/test_programs.py` lets no count rise by more than a few percent; compiled
counts are compared with the same version of jaxlib on the same kind of machine alone.
"""

import json

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.compiler import guard
from tests.fixtures.programs import PARTS, circumstances, measure
from tests.golden.files import FOLDER

if __name__ == "__main__":
    guard()
    use_compilation_cache()
    record = {**circumstances(), "recipes": measure(tuple(PARTS))}
    (FOLDER / "programs.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {FOLDER / 'programs.json'}")
