"""The shared servers, and runs of their own."""

from tests.support.engines import cassandra, kafka, own_run_folder, run_folder

__all__ = ["cassandra", "kafka", "own_run_folder", "run_folder"]
