"""Colours, sizes and texts of figures, shared by all packages that draw."""
