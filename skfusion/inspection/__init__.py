"""What a fitted model relies on: modalities, features and image regions."""
