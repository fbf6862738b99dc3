"""Faults of every kind in a cell under traffic, and whether its promises held: `python -m check.faults`."""
