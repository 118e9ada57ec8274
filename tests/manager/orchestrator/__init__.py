"""Tests of the loops that create, replace and retire tasks."""
