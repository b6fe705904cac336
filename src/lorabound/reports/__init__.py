"""How results look: tables in the terminal, charts and one offline page. No torch."""

from lorabound.reports.export import export_runs, write_figure
from lorabound.reports.page import write_page
from lorabound.reports.summary import print_summary

__all__ = ["export_runs", "print_summary", "write_figure", "write_page"]
