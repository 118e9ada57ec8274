"""Checks of networks between nodes: the conversation with them, and what their answers mean."""
