"""Mutates small files and gives them to every reader: `make fuzz`."""
