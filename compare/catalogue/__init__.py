"""The catalogue of models: read, extended by the user, listed."""
