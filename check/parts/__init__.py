"""Programs that measure one part of the cell by itself, with the helpers of its tests around it."""
