"""One self-contained page that shows a recovery: the surface, the surfers, the reconstructions."""

from surfing.report.page.view import view

__all__ = ["view"]
