"""Tests of what carries messages between nodes."""
