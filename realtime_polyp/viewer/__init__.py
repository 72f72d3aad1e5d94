"""The live viewer, and the only imports of Qt. The pipeline never imports it; `qt_setup` and `player` need no Qt."""
