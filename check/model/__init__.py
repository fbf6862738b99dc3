"""Explicit-state models of the protocol, with the cell's own decisions in them."""
