"""Text from outside, read strictly: patterns, numbers, booleans, image references."""
