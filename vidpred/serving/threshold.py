"""How sure a segment of a video is at the least that is told, unless somebody says otherwise."""

THRESHOLD = 0.4
"""Share; a module of its own, since the command line shows it in its help and imports nothing heavy for that."""
