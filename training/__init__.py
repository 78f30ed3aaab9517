"""Data -> checkpoint: data sets, synthetic scenes, losses, the loop, evaluation.

Knows nothing about graphs and engines: what it writes, ``export`` reads.
"""
