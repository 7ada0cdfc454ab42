"""The Compare tab: the form, its sections, the results."""
