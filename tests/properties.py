"""How many examples a property test draws, under each of the two profiles of Hypothesis.

`ci`, the usual one, draws the same examples on every machine, so that a red run can be repeated.
`deep` (`make test-deep`, or HYPOTHESIS_PROFILE=deep) draws new ones each time, ten times as many,
and prints how to repeat one that fails.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
FACTOR = {"ci": 1, "deep": 10}[PROFILE]


def load_profile() -> None:
    """Make the profile that was asked for the one of all tests."""
    settings.register_profile(
        PROFILE,
        deadline=None,
        derandomize=PROFILE == "ci",
        max_examples=100 * FACTOR,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile(PROFILE)


def examples(count: int) -> settings:
    """Draw this many examples, or ten times as many; for tests that are slow, or need more."""
    return settings(max_examples=count * FACTOR)
