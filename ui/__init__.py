"""What the browser shows: one file per tab, handlers of a few lines."""
