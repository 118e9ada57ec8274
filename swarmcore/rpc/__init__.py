"""Calls and streams between nodes over mutual TLS."""
