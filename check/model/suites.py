"""The models."""

from check.model import attaching_broken, forwarding_broken, retries_broken, storing_broken, times_broken

SUITES = (
    forwarding_broken.SUITE,
    attaching_broken.SUITE,
    retries_broken.SUITE,
    storing_broken.SUITE,
    times_broken.SUITE,
)
