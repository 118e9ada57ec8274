"""Loops that create, replace and retire tasks."""
