"""The cells of an image column: missing ones, bags and volumes."""
