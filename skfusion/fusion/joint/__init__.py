"""Joint fusion: one network whose loss reaches every trainable encoder."""
