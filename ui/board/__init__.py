"""The board of one run, as cards and a table, for all tabs."""
