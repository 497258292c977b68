"""Figures of modality importance, drawn with matplotlib."""
