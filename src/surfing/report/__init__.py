"""What people look at: intervals, tables, figures and the page."""

from surfing.report.figures import (
    drift_profile,
    landscape_path,
    recovery_grid,
)
from surfing.report.intervals import wilson
from surfing.report.landscape import Slice, slice_through
from surfing.report.page import view
from surfing.report.regions import linear_regions
from surfing.report.success import success_against_cost
from surfing.report.tables import Column, Table, rate

__all__ = [
    "Column",
    "Slice",
    "Table",
    "drift_profile",
    "landscape_path",
    "linear_regions",
    "rate",
    "recovery_grid",
    "slice_through",
    "success_against_cost",
    "view",
    "wilson",
]
