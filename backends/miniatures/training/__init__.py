"""How the miniatures were trained; imported only by its own command and tests."""
