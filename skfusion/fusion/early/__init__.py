"""Early fusion: one estimator on the joined features of all modalities."""
