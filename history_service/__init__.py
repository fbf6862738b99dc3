"""Stores what the log says, and answers questions about it."""
