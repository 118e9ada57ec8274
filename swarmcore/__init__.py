"""What all sides share: vocabulary, errors, clock, messages between nodes."""
