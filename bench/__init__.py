"""Benchmarks: commands that anyone can run, each prints a table."""
