"""A pool of unique codes: loaded from a file, each goes to one customer, once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from django.db import transaction
from django.utils.translation import gettext as _

from segmentation import bulk
from segmentation.batches import batches
from segmentation.models import AuditEntry, Offer, OfferCode

MOST_BYTES: Final = 20_000_000
MOST_CODES: Final = 1_000_000
LENGTH: Final = 64
HEADERS: Final = frozenset({"code", "codes", "coupon", "voucher"})
AT_ONCE: Final = 5000


class CodesRefused(Exception):
    """The file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Loaded:
    new: int
    known: int


def load(offer: Offer, file: IO[bytes], *, by: Any = None) -> Loaded:
    """Add the codes of a file: all of them or, with a reason, none. Codes that are there already stay as they are."""
    codes = list(dict.fromkeys(_codes(file)))
    if not codes:
        raise CodesRefused(_("The file holds no codes. Put one on each line."))
    with transaction.atomic():
        before = OfferCode.objects.filter(offer=offer).count()
        for part in batches(codes, AT_ONCE):
            bulk.insert(
                OfferCode, ("offer_id", "code", "is_used"), [(offer.pk, code, False) for code in part],
                on_conflict="ignore",
            )  # fmt: skip
        new = OfferCode.objects.filter(offer=offer).count() - before
        AuditEntry.record("offer.codes_loaded", offer, actor=by, new=new, known=len(codes) - new)
    return Loaded(new, len(codes) - new)


def left(offer: Offer) -> tuple[int, int]:
    """(codes nobody has, all codes)."""
    pool = OfferCode.objects.filter(offer=offer)
    return pool.filter(is_used=False).count(), pool.count()


def _codes(file: IO[bytes]) -> Iterator[str]:
    raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise CodesRefused(_("The file is larger than 20 MB; divide it."))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CodesRefused(_("The file is not text in UTF-8; save it as CSV with that encoding.")) from error
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
            code = row[0].strip() if row else ""
            if not code or (number == 1 and code.casefold() in HEADERS):
                continue
            if number > MOST_CODES:
                raise CodesRefused(_("More than a million codes at once; divide the file."))
            if len(code) > LENGTH or any(not letter.isprintable() for letter in code):
                raise CodesRefused(
                    _("Line %(line)s: a code has up to %(most)s printable characters.")
                    % {"line": number, "most": LENGTH}
                )
            yield code
    except csv.Error as error:
        raise CodesRefused(_("The file could not be read as CSV: %(error)s") % {"error": error}) from error
