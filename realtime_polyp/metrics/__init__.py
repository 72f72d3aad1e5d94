"""Every figure of METRICS.md, as pure functions."""
