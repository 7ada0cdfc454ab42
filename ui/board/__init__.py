"""One run as cards and a table, for every tab."""
