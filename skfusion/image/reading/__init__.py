"""Image files as arrays in their own units: `read_image`."""
