"""Cells of an image column: missing values, bags of images and volumes."""
