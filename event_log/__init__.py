"""The partitioned log: the port, its engines, and the reader that all consumers share."""
