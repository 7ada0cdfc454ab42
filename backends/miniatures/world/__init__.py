"""The world that the miniatures draw: scenes, captions, and judging pictures by rule; no torch."""
