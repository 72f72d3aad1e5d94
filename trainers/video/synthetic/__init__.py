"""Clips made from real stills on the fly: a virtual scope over each, and what is true of every frame."""
