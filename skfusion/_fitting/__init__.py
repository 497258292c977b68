"""Fits of estimators: steps, weights and patients, state, and warnings by modality."""
