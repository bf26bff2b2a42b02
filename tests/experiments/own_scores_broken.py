"""A module of a user's own that fails as it is imported."""

f = not_defined
