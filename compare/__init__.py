"""What a comparison is: run it, keep it, judge it, report it."""
