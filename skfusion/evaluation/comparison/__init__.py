"""`compare_fusion`: strategies on the same folds."""
