"""Comparison of fusion strategies on identical splits."""
