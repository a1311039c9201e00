"""The times of the week in which rollouts may happen. Pure: the moment comes in as an argument."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WHOLE_DAY = 24 * 60
_LOOK_AHEAD = 15
"""Days: whatever a change of the clocks swallows, a window that opens weekly opens within these."""


@dataclass(frozen=True, slots=True)
class Window:
    """Open on some days, from one time of the day to another. The day is the one of the opening."""

    days: frozenset[int]
    """0 is Monday."""
    opens: int
    """Minutes after midnight."""
    closes: int
    """The same; at or before `opens`, it is on the next day."""
    zone: ZoneInfo

    def spans(self, wall: float) -> Iterator[tuple[float, float]]:
        """When it opens and closes around and after `wall` (wall-clock seconds), in order."""
        today = datetime.fromtimestamp(wall, self.zone).date()
        for offset in range(-1, _LOOK_AHEAD):
            day = today + timedelta(offset)
            if day.weekday() in self.days:
                last = day if self.closes > self.opens else day + timedelta(1)
                start, end = self._moment(day, self.opens), self._moment(last, self.closes)
                if start < end:  # not so when a change of the clocks swallows it
                    yield start, end

    def _moment(self, day: date, minutes: int) -> float:
        day += timedelta(minutes // WHOLE_DAY)
        hour, minute = divmod(minutes % WHOLE_DAY, 60)
        local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
        return local.timestamp()

    def __str__(self) -> str:
        days = ",".join(DAYS[day] for day in sorted(self.days))
        return f"{days} {clock_text(self.opens)}-{clock_text(self.closes)} {self.zone.key}"


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether a rollout may happen, and when that changes (wall-clock seconds); None: never."""

    open: bool
    changes_at: float | None = None


def opening(windows: Sequence[Window], wall: float) -> Opening:
    """Without windows it is always open."""
    if not windows:
        return Opening(open=True)
    spans = [span for window in windows for span in window.spans(wall)]
    closes = [end for start, end in spans if start <= wall < end]
    if closes:
        return Opening(open=True, changes_at=max(closes))
    return Opening(
        open=False, changes_at=min((start for start, _ in spans if start > wall), default=None)
    )


def parse_days(text: str) -> frozenset[int] | None:
    """From `mon` or `mon-fri`; a range may go over the end of the week. None: it is neither."""
    first, dash, last = text.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        return None
    start = DAYS.index(first)
    count = (DAYS.index(last) - start) % 7 if dash else 0
    return frozenset((start + offset) % 7 for offset in range(count + 1))


def parse_clock(text: str) -> int | None:
    """Minutes after midnight, from `00:00` to `24:00`. None: it is no time of the day."""
    hours, colon, minutes = text.partition(":")
    if not colon or len(hours) != 2 or len(minutes) != 2 or not (hours + minutes).isdecimal():
        return None
    if not (hours + minutes).isascii() or int(minutes) > 59:
        return None
    found = int(hours) * 60 + int(minutes)
    return found if found <= WHOLE_DAY else None


def clock_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
