"""What the trials' work came to, and how much of it was computed once and then read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotl.recommend.words import format_seconds
from autotl.strategies.base import TrialRecord


@dataclass(frozen=True)
class Work:
    """Sums over the trials of a fit.

    Attributes:
        seconds: of all trials.
        saved_seconds: what computing anew all that was read would have taken besides; from the
            measured speed of each stage.
        n_read: activations that were read instead of computed.
        n_computed: activations of frozen stages that were computed.
        peak_bytes: the most memory that a trial held.
        cache_bytes: on disk, for this and later fits.
    """

    seconds: float
    saved_seconds: float
    n_read: int
    n_computed: int
    peak_bytes: int
    cache_bytes: int

    @classmethod
    def of(cls, records: Sequence[TrialRecord], cache_bytes: int) -> Work:
        """Summed from ended trials."""
        return cls(
            seconds=sum(record.seconds for record in records),
            saved_seconds=_total(records, "saved_seconds"),
            n_read=int(_total(records, "store_reads")),
            n_computed=int(_total(records, "store_misses")),
            peak_bytes=max((r.result.peak_bytes for r in records if r.result), default=0),
            cache_bytes=cache_bytes,
        )

    def metrics(self) -> dict[str, float]:
        """As figures of the fit's record."""
        return {
            "trial_seconds": self.seconds,
            "saved_seconds": self.saved_seconds,
            "store_reads": float(self.n_read),
            "store_misses": float(self.n_computed),
            "peak_bytes": float(self.peak_bytes),
            "cache_bytes": float(self.cache_bytes),
        }

    def facts(self) -> list[tuple[str, str]]:
        """As pairs of name and value for people."""
        asked = self.n_read + self.n_computed
        share = f" ({100 * self.n_read / asked:.0f} %)" if asked else ""
        return [
            ("Trials took", format_seconds(self.seconds)),
            (
                "Without reuse they would have taken",
                "about " + format_seconds(self.seconds + self.saved_seconds),
            ),
            ("Activations read instead of computed", f"{self.n_read:,}{share}"),
            ("Most memory held", f"{self.peak_bytes / 1e9:.1f} GB"),
            ("Kept on disk for later fits", f"{self.cache_bytes / 1e6:,.0f} MB"),
        ]


def _total(records: Sequence[TrialRecord], name: str) -> float:
    return sum(record.figures.get(name, 0.0) for record in records)
