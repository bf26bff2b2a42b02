"""Proofs for rows of one's own: what the rows of this project must pass, run on any row.

>>> from transformer import testing
>>> list(testing.AXES)[:2]
['score', 'mask']
"""

from transformer.testing.axes import AXES, Axis
from transformer.testing.check import FAILS, Report, Result, check, find_axis
from transformer.testing.inapplicable import InapplicableError

__all__ = ["AXES", "FAILS", "Axis", "InapplicableError", "Report", "Result", "check", "find_axis"]
