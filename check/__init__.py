"""Programs that measure the cell and try to break it. They know it only by its protos and its command."""
