"""What keeps an installation running and watched: metrics, health page, log (docs/operations.md)."""
