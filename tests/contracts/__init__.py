"""What a protocol promises, asked of the real thing and of every fake in its place."""
