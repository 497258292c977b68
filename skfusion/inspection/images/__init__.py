"""Saliency maps of images: `explain_images`."""
