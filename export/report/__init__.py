"""Runs beside each other on one page. A package so that `python -m export.report` runs."""

from export.report.page import html
from export.report.runs import NoReportError, Run, read_runs

__all__ = ["NoReportError", "Run", "html", "read_runs"]
