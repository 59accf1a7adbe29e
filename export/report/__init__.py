"""Comparison of several runs on one page: `python -m export.report`."""

from export.report.page import html
from export.report.runs import NoReportError, Run, read_runs

__all__ = ["NoReportError", "Run", "html", "read_runs"]
