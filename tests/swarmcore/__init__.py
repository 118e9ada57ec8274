"""Tests of what all sides share."""
