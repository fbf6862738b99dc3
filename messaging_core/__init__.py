"""What every part of the cell agrees on: ids, cursors, clocks, refusals, limits. Imports no service."""
