"""Point-in-time visibility: the events visible to each case at its index time."""
