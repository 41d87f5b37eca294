"""What a head reads and writes: the singular directions of its circuits, beside random heads and causally."""
