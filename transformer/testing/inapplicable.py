"""The exception of a property that has nothing to prove of a row."""


class InapplicableError(Exception):
    """Exception with the reason why a property does not apply to an example; the report has it as the reason."""
