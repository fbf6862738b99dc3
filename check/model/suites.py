"""The models."""

from check.model import forwarding

SUITES = (forwarding.SUITE,)
