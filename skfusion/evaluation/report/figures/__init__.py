"""Figures of a comparison, and how matplotlib and the page draw them."""
