"""Folding results into reports, and showing them."""

from aeval.report.report import ErrorGroup, Report, TimingReport

__all__ = ["ErrorGroup", "Report", "TimingReport"]
