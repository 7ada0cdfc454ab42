"""Control maps: preprocessors that make them from pictures."""
