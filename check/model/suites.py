"""The models."""

from check.model import forwarding, retries

SUITES = (forwarding.SUITE, retries.SUITE)
