"""One stand for each backend, found by its file's name: `<backend>.py` with a class `Here`."""
