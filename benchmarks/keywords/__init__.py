"""Keyword networks, and their peers in early inference."""
