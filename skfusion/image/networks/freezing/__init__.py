"""Trained and frozen parts of networks."""
