"""Images: from a cell of a table to an embedding. Read next: `skfusion.image.reading`.

Empty on purpose: importing this package loads neither torch nor Pillow.
"""
