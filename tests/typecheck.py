"""How annotations are checked in the tests: an int stands for a float, as it does in Python's own type checkers."""

from beartype import BeartypeConf, beartype

CONFIG = BeartypeConf(is_pep484_tower=True)
check = beartype(conf=CONFIG)
