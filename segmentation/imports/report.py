"""What an import did, in numbers and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from segmentation.imports.normalise import ERASED, FREE_LINE, NO_CUSTOMER


@dataclass
class ImportReport:
    """Lines read = imported + repeated + skipped + rejected."""

    file: str
    run_id: int | None = None
    rows_read: int = 0
    rows_imported: int = 0
    rows_repeated: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rows_rejected: int = 0
    reject_reasons: list[str] = field(default_factory=list)
    rejects_file: Path | None = None
    events_created: int = 0
    customers_created: int = 0
    customers_touched: int = 0
    seconds: float = 0.0

    @property
    def rows_skipped(self) -> int:
        return sum(self.skipped.values())

    def skip(self, cause: str, lines: int) -> None:
        if lines:
            self.skipped[cause] = self.skipped.get(cause, 0) + lines

    @property
    def nothing_usable(self) -> bool:
        """Every line was rejected: more likely a wrong mapping than a bad file."""
        return self.rows_rejected > 0 and self.rows_rejected == self.rows_read

    def sentence(self) -> str:
        return _("%(file)s: of %(read)d lines %(kept)d were imported in %(seconds).1f s; %(rest)s.") % {
            "file": self.file,
            "read": self.rows_read,
            "kept": self.rows_imported,
            "seconds": self.seconds,
            "rest": ", ".join(self._rest()),
        }

    def counts(self) -> list[tuple[str, int]]:
        """Label and number, for a table."""
        return [
            (_("lines read"), self.rows_read),
            (_("lines imported"), self.rows_imported),
            (_("lines already known"), self.rows_repeated),
            *((skip_label(cause), count) for cause, count in sorted(self.skipped.items())),
            (_("lines rejected"), self.rows_rejected),
            (_("new events"), self.events_created),
            (_("new customers"), self.customers_created),
        ]

    def _rest(self) -> list[str]:
        parts = [
            ngettext("%(count)d new event", "%(count)d new events", self.events_created)
            % {"count": self.events_created},
            ngettext("%(count)d new customer", "%(count)d new customers", self.customers_created)
            % {"count": self.customers_created},
        ]
        if self.rows_repeated:
            parts.append(_("%(count)d already known") % {"count": self.rows_repeated})
        parts += [f"{count} {skip_label(cause)}" for cause, count in sorted(self.skipped.items())]
        if self.rows_rejected:
            rejected = {"count": self.rows_rejected, "file": self.rejects_file}
            parts.append(_("%(count)d rejected, with the reasons in %(file)s") % rejected)
        return parts


def skip_label(cause: str) -> str:
    labels = {
        NO_CUSTOMER: _("lines without a customer"),
        FREE_LINE: _("lines with a price of 0 or less"),
        ERASED: _("lines of erased people"),
    }
    return labels.get(cause, cause)
