"""What holds for all tests; fixtures stand in the conftest.py of the folder that uses them."""

from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("cell", deadline=None)
settings.load_profile("cell")
