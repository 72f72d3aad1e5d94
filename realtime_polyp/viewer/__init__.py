"""The viewer, the only package that imports Qt. The pipeline never imports it; `feed` and `player` need no Qt."""
