"""What staff see before somebody is erased, and of a request afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from segmentation.dashboard import words
from segmentation.models import Customer, PrivacyRequest
from segmentation.privacy import holders, places, subjects, versions

Fact = tuple[str, str]


@dataclass(frozen=True)
class WhatGoes:
    """counts: what is held, by name. merged: references that go with it. sharing: others with the same e-mail."""

    counts: tuple[Fact, ...]
    merged: tuple[str, ...]
    sharing: str
    versions: tuple[str, ...]


def what_goes(customer: Customer) -> WhatGoes:
    people = subjects.cluster([customer.pk])
    subject = subjects.of_customers(people)
    counts = [(str(label), count) for label, count in places.held(people)]
    for holder in holders.registered():
        counts += [(label, count) for label, count in holder.held(subject).items()]
    others = Customer.objects.filter(pk__in=people).exclude(pk=customer.pk).order_by("pk")
    seen = versions.seen_by(people)
    in_use = PrivacyRequest(versions=seen.versions)
    return WhatGoes(
        counts=tuple((label, words.number(count)) for label, count in counts if count),
        merged=tuple(others.values_list("reference", flat=True)),
        sharing=_sharing(subjects.others_with_the_email(customer)),
        versions=tuple(str(version) for version in versions.to_replace(in_use)),
    )


def facts(row: PrivacyRequest) -> list[Fact]:
    """Label and value, for the page of a request."""
    found = [
        (_("Request"), row.get_kind_display()),
        (_("Came through"), row.source),
        (_("Asked by"), str(row.requested_by or words.NOTHING)),
        (_("Reason"), row.reason or words.NOTHING),
        (_("To be answered by"), str(words.moment(row.due_at))),
    ]
    if row.kind != PrivacyRequest.Kind.ERASE_FROM:
        ids = ", ".join(map(str, row.customers)) or _("nobody who is known here")
        found.append((_("Customer ids"), ids))
    if row.is_held is not None:
        found.append((_("Held"), _("something was held") if row.is_held else _("nothing was held")))
    found += [(name, words.number(count)) for name, count in row.counts.items()]
    if row.retrain_by is not None:
        found += _learned(row)
    return found


def is_late(row: PrivacyRequest) -> bool:
    return not row.is_over and row.due_at < timezone.now()


def _learned(row: PrivacyRequest) -> list[Fact]:
    waiting = versions.to_replace(row)
    shown = ", ".join(str(version) for version in waiting) or _("none")
    return [
        (_("Model versions that may have learned from them"), words.number(len(row.versions))),
        (_("Of these still serving"), shown),
        (_("Retrain by"), str(words.day(row.retrain_by)) if waiting else words.NOTHING),
    ]


def _sharing(count: int) -> str:
    if not count:
        return ""
    return ngettext(
        "%(count)d other customer has the same e-mail address and stays.",
        "%(count)d other customers have the same e-mail address and stay.",
        count,
    ) % {"count": count}
