"""Tables, charts and one offline page from the runs of a sweep. No torch."""

from lorabound.report.console import print_summary
from lorabound.report.export import export_runs, write_figure
from lorabound.report.page import write_page
from lorabound.report.summary import Summary, summarize

__all__ = ["Summary", "export_runs", "print_summary", "summarize", "write_figure", "write_page"]
