"""The link between a delivery service and a messaging server: the port, in one process and over gRPC."""
