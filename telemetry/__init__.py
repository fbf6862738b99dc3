"""What a cell tells of itself: spans of sampled messages, and counts that its parts keep. Ports; vendors are files."""
