"""Intervals and tests of scores, statistics of probabilities and survival curves."""
