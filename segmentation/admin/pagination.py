"""Pages of large tables without counting them."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

ROWS_SHOWN = 10_000


class BoundedPaginator(Paginator):
    """Counts and shows at most ROWS_SHOWN rows, so a page costs the same on a thousand rows and on ten million.

    Offsets stay small too: whoever needs row 10,001 narrows the list by a filter or the search.
    """

    template_name = "tierwise/pagination.html"

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        if isinstance(rows, QuerySet):
            # A sliced count keeps its ordering, which would sort the table first.
            return rows.order_by()[: ROWS_SHOWN + 1].count()
        return len(rows)

    @cached_property
    def count(self) -> int:
        return min(self._counted, ROWS_SHOWN)

    @property
    def is_cut(self) -> bool:
        """True when there are more rows than are shown."""
        return self._counted > ROWS_SHOWN
