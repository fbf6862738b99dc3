"""The models."""

from check.model import attaching, forwarding, retries

SUITES = (forwarding.SUITE, attaching.SUITE, retries.SUITE)
