"""Checks of the library's annotations in the tests: an int stands for a float, as in type checkers.

jaxtyping and beartype check the calls of functions and methods, and a violation is a TypeError. Functions within
functions, which are made anew at every call, are left to the type checker: with every check of a protocol they took 6
of 57 s of three files of tests.
"""

import ast
import dataclasses
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from typing import Annotated

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.vale import Is

by_type = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))


def by_shape(thing):
    """Check a function, or the `__init__` of a dataclass, by types and shapes."""
    return _check(thing, jaxtyping.jaxtyped(typechecker=by_type))


def by_type_alone(thing):
    """Check a function, or the `__init__` of a dataclass, by types: takes less time, for modules without shapes."""
    return _check(thing, by_type)


def _check(thing, checker):
    if not isinstance(thing, type):
        return _with_quick_protocols(thing, checker)
    if dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
        thing.__init__ = _with_quick_protocols(thing.__init__, checker)
    return thing


def _with_quick_protocols(function, checker):
    """Check a function; the class of an argument that is to have the attributes of a protocol, once."""
    hints = function.__annotations__
    function.__annotations__ = {name: _quick(hint) if _is_protocol(hint) else hint for name, hint in hints.items()}
    checked = checker(function)
    function.__annotations__ = checked.__annotations__ = hints
    return checked


def _is_protocol(hint):
    return getattr(hint, "_is_protocol", False)


def _quick(protocol):
    """Return a hint that allows what the protocol allows; Python asks for every attribute at each check."""
    classes = set()

    def fulfils(x):
        if type(x) in classes:
            return True
        found = isinstance(x, protocol)
        if found and dataclasses.is_dataclass(x):
            classes.add(type(x))
        return found

    return Annotated[object, Is[fulfils]]


class Decorate(ast.NodeTransformer):
    """Decoration of each function of a module, and of each method and class, but not of what is within a function."""

    def __init__(self, name):
        self.name = name

    def visit_FunctionDef(self, node):
        """Decorate a function first, before its own decorators."""
        node.decorator_list.append(self.decorator(node))
        return node

    def visit_ClassDef(self, node):
        """Decorate a class last, once its own decorators have given it its `__init__`, and its methods."""
        node.decorator_list.insert(0, self.decorator(node))
        return self.generic_visit(node)

    def decorator(self, node):
        """Return `__import__("tests.typecheck").typecheck.name`."""
        tree = ast.parse(f"__import__({__name__!r}).{__name__.partition('.')[2]}.{self.name}", mode="eval").body
        for part in ast.walk(tree):
            ast.copy_location(part, node)
        return tree


class Loader(SourceFileLoader):
    """Loader that decorates a module; what it compiles is not stored, since other processes read the same files."""

    def source_to_code(self, data, path, *, _optimize=-1):
        """Compile the decorated source."""
        name = by_shape.__name__ if b"from jaxtyping import" in data else by_type_alone.__name__
        tree = Decorate(name).visit(ast.parse(data, path))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)

    def path_stats(self, path):
        """Refuse, so that no compiled file is read or written."""
        raise OSError


class Finder:
    """Finder of the modules of a package, first of those that Python asks."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        """Return the spec of a module of the package, with its loader."""
        if name.partition(".")[0] != self.package:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install(package):
    """Check the modules of a package that are imported from now on."""
    sys.meta_path.insert(0, Finder(package))
