"""Inspection of models: figures of attention weights, curves and confusions.

The figures are in `plots`, which needs matplotlib and is imported by name: `from transformer.inspection import plots`.
"""
