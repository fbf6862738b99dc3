"""The delivery service: owns partitions, forwards copies, keeps the recent window, and feeds session links."""
