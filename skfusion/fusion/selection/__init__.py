"""Feature selection for early fusion."""
