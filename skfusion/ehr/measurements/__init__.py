"""Values and units of laboratory tests and vital signs."""
