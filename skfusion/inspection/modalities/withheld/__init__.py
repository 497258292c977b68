"""Outputs averaged over background values of withheld modalities."""
