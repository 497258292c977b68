"""What the figures of a comparison show, and how they are drawn."""
