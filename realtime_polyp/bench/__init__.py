"""How fast this machine runs the line: python -m realtime_polyp.bench. It measures, and asserts nothing."""
