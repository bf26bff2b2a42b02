"""A file format of one's own: pairs of a source and a target, separated by a semicolon."""

from experiments import api
from experiments.data.examples import Pair
from experiments.data.sources.rows import Format


def semicolons(files, config):
    return [Pair(*line.split(";")) for line in files[0].lines()]


api.register("file_format", "semicolons", Format(pairs=semicolons, endings=(".ssv",)))
