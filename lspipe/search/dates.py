"""When to look: ranges of days, and the ranges an event stands for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from lspipe.spec import Spec

EVENT_DAYS = 90
"""Length of the windows that are derived from an event: about 18 passes, within one season."""


@dataclass(frozen=True, kw_only=True)
class DateRange(Spec):
    """A range of days, UTC."""

    start: date
    """First day."""
    end: date
    """Last day, inclusive to its last moment."""

    def __post_init__(self) -> None:
        """Refuse a range that ends before it starts."""
        super().__post_init__()
        if self.start > self.end:
            raise ValueError(
                f"found start {self.start} after end {self.end}, expected the earlier day first"
            )

    def __str__(self) -> str:
        """Show both days."""
        return f"{self.start} to {self.end}"

    @property
    def moments(self) -> tuple[datetime, datetime]:
        """First moment, and the first one that is too late."""
        first, last = (datetime.combine(day, time(), UTC) for day in (self.start, self.end))
        return first, last + timedelta(days=1)

    def __contains__(self, moment: datetime) -> bool:
        """Return whether a UTC time is within."""
        first, too_late = self.moments
        return first <= moment < too_late


@dataclass(frozen=True, kw_only=True)
class DatesSpec(Spec):
    """When to look: `before` and `after`, or `after` alone, or `event`."""

    before: DateRange | None = None
    """Scenes from before what is looked for; left out = a run of one date."""
    after: DateRange | None = None
    """Scenes from after it."""
    event: date | None = None
    """Day of the event, instead of the ranges: `after` becomes the 90 days that follow it, and
    `before` the same days of the year one year earlier, so that sun, snow and leaves agree."""

    def __post_init__(self) -> None:
        """Refuse ranges that are missing, doubled or overlapping."""
        super().__post_init__()
        if self.event is not None:
            if self.before is not None or self.after is not None:
                raise ValueError("found event beside before or after, expected one or the other")
            return
        if self.after is None:
            raise ValueError("found no after, expected after (and before), or event")
        if self.before is None:
            return
        if self.before.start <= self.after.end and self.after.start <= self.before.end:
            raise ValueError(
                f"found before ({self.before}) overlapping after ({self.after}), expected ranges "
                "without a common day"
            )

    def ranges(self) -> dict[str, DateRange]:
        """Return the range per date: "before" and "after", or "after" alone."""
        if self.event is not None:
            start, end = self.event + timedelta(days=1), self.event + timedelta(days=EVENT_DAYS)
            return {
                "before": DateRange(start=_year_before(start), end=_year_before(end)),
                "after": DateRange(start=start, end=end),
            }
        both = {"before": self.before, "after": self.after}
        return {role: range_ for role, range_ in both.items() if range_ is not None}

    @property
    def is_swapped(self) -> bool:
        """Whether before is later than after, so that "new" reads as "vanished"."""
        found = self.ranges()
        return "before" in found and found["before"].start > found["after"].start


def _year_before(day: date) -> date:
    is_leap_day = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year - 1, day=28 if is_leap_day else day.day)
