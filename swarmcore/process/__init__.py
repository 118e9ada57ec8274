"""What one process of pyswarm keeps of itself: the faults of its parts, its memory."""
