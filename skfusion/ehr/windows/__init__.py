"""Statistics of events in time windows: `EventWindows`."""
