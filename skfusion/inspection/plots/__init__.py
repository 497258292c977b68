"""Figures of the results, drawn with matplotlib."""
