"""A colon phantom drawn from formulas and noise alone: geometry, texture, polyps, scene, render, screen, clip."""
