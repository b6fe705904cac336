"""How bad an adapter, or any classifier, can be on new data: its errors on fresh rows, and the exact limit they prove.

``lorabound.checks.adapters`` runs adapters, after ``lorabound.checks.rows`` has read them. It is imported by its own
name; everything else works without torch.
"""

from lorabound.checks.fresh import Checked, FreshCheck, check_errors
from lorabound.checks.predictions import check_predictions

__all__ = ["Checked", "FreshCheck", "check_errors", "check_predictions"]
