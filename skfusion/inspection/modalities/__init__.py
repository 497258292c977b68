"""Shapley values of modalities: `ModalityImportance`."""
