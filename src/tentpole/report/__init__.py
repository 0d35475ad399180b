"""What a campaign has done, for reading: one HTML page with its figures, and the story of a single frame."""

from tentpole.report.explanation import explain
from tentpole.report.page import Page, show, write_report

__all__ = ["Page", "explain", "show", "write_report"]
