"""How many examples a property test draws, under each of the two profiles of Hypothesis.

`ci`, the usual one, draws the same examples on every machine, so that a red run can be repeated,
and half as many as a test asks for. `deep` (`make test-deep`, or HYPOTHESIS_PROFILE=deep) draws new
ones each time, ten times as many as asked for, and prints how to repeat one that fails.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
FACTOR = {"ci": 0.5, "deep": 10}[PROFILE]
FEWEST = 5


def load_profile() -> None:
    """Make the profile that was asked for the one of all tests."""
    settings.register_profile(
        PROFILE,
        deadline=None,
        derandomize=PROFILE == "ci",
        max_examples=drawn(100),
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile(PROFILE)


def examples(count: int) -> settings:
    """Draw as many examples as this asks for, of each profile; for slow tests, or to see more."""
    return settings(max_examples=drawn(count))


def drawn(count: int) -> int:
    """Return how many examples the profile draws where a test asks for so many."""
    return max(FEWEST, round(count * FACTOR))
