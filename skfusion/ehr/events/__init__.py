"""Timed events on disk: the `EventStore` and its files."""
