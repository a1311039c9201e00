"""May this caller have this, now? Asked by the daemon before the pools are."""
