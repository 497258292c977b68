"""Recognition of images among the cells of a table, by content and by name."""
