"""The theory beside the measurements: one command, one page."""

from lorabound.paper.make import Evidence, gather
from lorabound.paper.page import write_paper

__all__ = ["Evidence", "gather", "write_paper"]
