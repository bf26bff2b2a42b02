"""Checks of annotations in the tests: an int stands for a float, as in type checkers; a violation is a TypeError."""

from beartype import BeartypeConf, beartype

CONFIG = BeartypeConf(is_pep484_tower=True, violation_type=TypeError)
check = beartype(conf=CONFIG)
