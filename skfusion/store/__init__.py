"""What is computed once for all folds, searches and processes: `EmbeddingStore`."""
