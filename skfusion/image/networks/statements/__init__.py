"""Readers of what packages state about the preprocessing of their networks."""
