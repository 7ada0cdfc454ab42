"""Measured, never asserted: ratios in one run, because a shared machine's seconds mean little."""
