"""The training loop: optimizer, precision, data, export."""
