"""What holds for all tests, and the real servers, one of each for a whole run. Other fixtures stand where they are used."""

from hypothesis import settings

from tests.support.engines import cassandra, kafka, own_run_folder, run_folder

__all__ = ["cassandra", "kafka", "own_run_folder", "run_folder"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("cell", deadline=None)
settings.load_profile("cell")
