"""What nodes say to each other: one file per conversation, every request a tagged frozen struct."""
