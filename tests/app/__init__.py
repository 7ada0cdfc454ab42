"""The app as started from the command line, over plain HTTP, without a browser."""
