"""A read-only page with the annotated picture for a second screen (docs/operations.md)."""
