"""Looking inside: names of activations, what is captured, and figures.

The figures are in `plots`, which needs matplotlib and is imported by name: `from transformer.inspection import plots`.
"""
