"""What is inside one container's network namespace, and what its port of a bridge lets in."""
