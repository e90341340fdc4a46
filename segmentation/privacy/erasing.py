"""Erase a person everywhere. Each step may be done twice; what is left after a crash goes with the next attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from django.utils.translation import gettext as _

from segmentation import promotion_diffs
from segmentation.models import PrivacyRequest
from segmentation.privacy import files, holders, rows, traces
from segmentation.privacy.marks import Marks
from segmentation.privacy.subjects import Subject


class Journal(Protocol):
    """Where the work is written down as it goes; raises leases.LeaseLost when it is somebody else's by now."""

    def note(self, doing: str) -> None: ...

    def count(self, gone: Mapping[str, int]) -> None: ...


def erase(subject: Subject, *, request: PrivacyRequest, journal: Journal) -> None:
    """Key, rows, copies, traces: in this order, after the tombstones. Call it outside any transaction.

    Raises rows.Grown.
    """
    rows.destroy_keys(subject.customers)
    journal.note(_("deleting rows"))
    rows.delete(subject.customers, on_deleted=journal.count)
    for holder in holders.registered():
        journal.note(_("deleting copies"))
        journal.count(holder.erase(subject))
    journal.note(_("searching stored files"))
    journal.count({"files": files.forget(Marks(subject))})
    traces.drop_choices(subject)
    promotion_diffs.forget(subject.customers)
    traces.scrub(subject)
    _forget_answers(subject, request)


def _forget_answers(subject: Subject, request: PrivacyRequest) -> None:
    """What was handed out about the person before is not kept either."""
    people = set(subject.customers)
    kept = PrivacyRequest.objects.filter(result__isnull=False).exclude(pk=request.pk)
    for other in kept.only("pk", "customers"):
        if people & set(other.customers):
            PrivacyRequest.objects.filter(pk=other.pk).update(result=None)
