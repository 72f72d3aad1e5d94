"""The GPU kit: it packs what a GPU machine without a network needs, and uses ten minutes of that machine."""
