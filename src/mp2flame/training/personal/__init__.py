"""What a minute of a person's own face tells: the rest, left against right, and how far each score goes."""
