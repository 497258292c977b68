"""Point-in-time visibility: the events that each case may see."""
