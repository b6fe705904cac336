"""How results look: shown in the terminal, as charts and one offline page. No torch."""

from lorabound.reports.export import export_runs, write_figure
from lorabound.reports.page import PAGE, write_page
from lorabound.reports.show import show

__all__ = ["PAGE", "export_runs", "show", "write_figure", "write_page"]
