"""Small real servers that speak the wire formats of the systems that Lineup talks to."""
