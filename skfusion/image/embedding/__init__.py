"""Embeddings of an image column: `ImageEmbedder`."""
