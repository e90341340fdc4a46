"""Everything held about a person as one readable document: what they may ask to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import attributes, contacts, crypto, decisions, suggested, targets
from segmentation.batches import batches
from segmentation.dashboard import customer_page, score_views, words
from segmentation.features import store
from segmentation.models import (
    AttributeValue,
    AuditEntry,
    Consent,
    ContactData,
    Customer,
    CustomerIdentity,
    Decision,
    Event,
    EventItem,
    EventText,
    Grant,
    ListEntry,
    Membership,
    PastMembership,
    PriorityOverride,
    PriorityReview,
    Redemption,
    Score,
    ScoreHistory,
    ScoreOverride,
    ServicePriority,
    Shop,
    Suppression,
)
from segmentation.privacy import holders
from segmentation.privacy.subjects import Subject, cluster, of_customers

EVENTS_AT_ONCE = 500
Document = dict[str, Any]


def export(customer: Customer) -> Document:
    """Whatever is held about the person, the customers merged into them included. Times are UTC."""
    people = cluster([customer.pk])
    subject = of_customers(people)
    survivor = Customer.objects.get(pk=people[0])
    shop = Shop.get()
    return {
        "shop": shop.name,
        "as_of": timezone.now(),
        "customer": [_profile(row) for row in Customer.objects.filter(pk__in=people).order_by("pk")],
        "known_as": list(_identities(people)),
        "contact": [one for key in people if (one := _contact(key))],
        "consents": list(_consents(people)),
        "your_columns": list(_attributes(people)),
        "events": list(_events(people, shop)),
        "features": list(_features(survivor, shop)),
        "scores": list(_scores(survivor, shop)),
        "classes_set_by_staff": list(_overrides(people)),
        "earlier_scores": list(_earlier_scores(people)),
        "suggested_products": list(_suggested(survivor)),
        "segments": list(_memberships(people)),
        "segment_history": list(_past_memberships(people)),
        "segment_entries_by_hand": list(_list_entries(people)),
        "decisions": list(_decisions(people)),
        "service_priority": list(_priorities(people)),
        "offers_given": list(_grants(people)),
        "offers_used": list(_redemptions(people, shop)),
        "said_by_people": list(_said_by_people(people)),
        **{holder.name: dict(holder.export(subject)) for holder in holders.registered()},
        "who_looked": list(_audit(people)),
    }


def export_of(subject: Subject) -> Document:
    """The answer to a request: each person it leads to, and what others hold under the ids and addresses it named."""
    survivors = Customer.objects.filter(pk__in=subject.customers, merged_into=None).order_by("pk")
    people = [export(customer) for customer in survivors]
    if people:
        return {"held": True, "people": people}
    elsewhere = {holder.name: dict(holder.export(subject)) for holder in holders.registered()}
    held = any(found for content in elsewhere.values() for found in content.values())
    answer = _("Nothing else is held under these ids.") if held else _("Nothing is held under these ids.")
    return {"held": held, "people": [], "answer": answer, **elsewhere}


def _profile(customer: Customer) -> Document:
    return {
        "reference": customer.reference,
        "merged_into_the_first": customer.merged_into_id is not None,
        "country": customer.country,
        "channel": customer.channel,
        "time_zone": customer.time_zone,
        "signed_up_at": customer.signed_up_at,
        "known_since": customer.created_at,
        "is_profiled": customer.is_profiled,
    }


def _identities(people: Sequence[int]) -> Iterator[Document]:
    for row in CustomerIdentity.objects.filter(customer__in=people).order_by("namespace", "value"):
        yield {"source": row.namespace, "id": row.value, "since": row.created_at}


def _contact(customer_id: int) -> Document:
    try:
        contact = contacts.read(customer_id)
    except crypto.DecryptionError:
        return {"unreadable": _("Sealed under a key that this installation no longer has.")}
    return asdict(contact) if contact is not None else {}


def _consents(people: Sequence[int]) -> Iterator[Document]:
    for row in Consent.objects.filter(customer__in=people).order_by("decided_at", "pk"):
        yield {
            "purpose": row.get_purpose_display(),
            "answer": row.get_status_display(),
            "decided_at": row.decided_at,
            "told_by": row.source,
        }


def _attributes(people: Sequence[int]) -> Iterator[Document]:
    rows = AttributeValue.objects.filter(customer__in=people).select_related("definition")
    for row in rows.order_by("definition__slug", "valid_from", "pk"):
        value = attributes.to_python(row.definition, attributes.Stored(row.number, row.text))
        yield {"column": row.definition.label, "value": value, "valid_from": row.valid_from}


def _events(people: Sequence[int], shop: Shop) -> Iterator[Document]:
    """Every version of every fact, oldest first."""
    keys = {
        owner: bytes(key)
        for owner, key in ContactData.objects.filter(customer__in=people).values_list("pk", "data_key")
    }
    own = Event.objects.filter(customer__in=people).order_by("occurred_at", "pk")
    ids = list(own.values_list("pk", flat=True))
    for part in batches(ids, EVENTS_AT_ONCE):
        items = _items(part, shop)
        read = EventText.objects.filter(event__in=part).values_list(
            "event_id", "sealed", "sentiment", "topic"
        )
        texts = {key: (sealed, sentiment, topic) for key, sealed, sentiment, topic in read}
        for event in own.filter(pk__in=part).select_related("source"):
            sealed, sentiment, topic = texts.get(event.pk, (None, None, 0))
            text = _text(keys.get(event.customer_id, b""), sealed)
            yield {
                **_event(event, items.get(event.pk, []), text, shop),
                "sentiment": sentiment,
                "topic": topic or None,
            }


def _event(event: Event, items: list[Document], text: str, shop: Shop) -> Document:
    return {
        "what": event.get_kind_display(),
        "when": event.occurred_at,
        "received_at": event.received_at,
        "source": event.source.slug,
        "id_at_source": event.source_key,
        "order": event.order_key,
        "amount": _amount(event.amount_minor, shop),
        "discount": _amount(event.discount_minor, shop),
        "currency": shop.base_currency,
        "paid_in": event.currency,
        "units": event.quantity,
        "rating": event.rating,
        "text": text,
        "replaced_at": event.superseded_at,
        "items": items,
    }


def _items(event_ids: Sequence[int], shop: Shop) -> dict[int, list[Document]]:
    found: dict[int, list[Document]] = {}
    for item in EventItem.objects.filter(event__in=event_ids).select_related("product").order_by("pk"):
        line = {
            "product": str(item.product),
            "product_id": item.product.external_id,
            "units": item.quantity,
            "amount": _amount(item.amount_minor, shop),
        }
        found.setdefault(item.event_id, []).append(line)
    return found


def _text(key: bytes, sealed: bytes | memoryview | None) -> str:
    if sealed is None:
        return ""
    try:
        return crypto.unseal(key, bytes(sealed)).decode()
    except crypto.DecryptionError:
        return _("This text can no longer be opened.")


def _features(customer: Customer, shop: Shop) -> Iterator[Document]:
    frame = store.read_features([customer.pk])
    values = {} if frame.is_empty() else frame.row(0, named=True)
    for title, family in customer_page.FAMILIES:
        for feature in family:
            value = values.get(feature.name)
            if value is None or value != value:
                continue
            said = words.feature(value, feature.unit, shop)
            yield {
                "group": str(title),
                "feature": str(feature.label),
                "value": said,
                "meaning": feature.say(said),
            }


def _scores(customer: Customer, shop: Shop) -> Iterator[Document]:
    figures = {
        row.target.name: row for row in Score.objects.filter(customer=customer).select_related("target")
    }
    for view in score_views.of_customer(customer, shop):
        row = figures.get(view.name)
        yield {
            "score": view.name,
            "meaning": view.definition,
            "says": view.headline,
            "detail": list(view.detail),
            "reasons": [
                {"side": str(side.title), "because": [reason.sentence for reason in side.reasons]}
                for side in view.sides
            ],
            "value": row.value if row else None,
            "class": row.label if row else "",
            "model_version": view.version_number,
            "counted_up_to": view.up_to,
        }


def _overrides(people: Sequence[int]) -> Iterator[Document]:
    """Who of the staff it was is not the person's business."""
    rows = ScoreOverride.objects.filter(customer__in=people).select_related("target")
    for row in rows.order_by("pk"):
        yield {
            "score": row.target.name,
            "class": row.label,
            "because": row.reason,
            "since": row.set_at,
            "until": row.last_day,
            "ended": row.ended_at,
        }


def _suggested(customer: Customer) -> Iterator[Document]:
    for target, version, products in suggested.of_customer(customer.pk):
        yield {
            "score": target.name,
            "meaning": targets.definition(target),
            "products": [str(product) for product, _score in products],
            "model_version": version.number,
        }


def _earlier_scores(people: Sequence[int]) -> Iterator[Document]:
    rows = ScoreHistory.objects.filter(customer__in=people).select_related("target", "version")
    for row in rows.order_by("as_of", "pk"):
        yield {
            "score": row.target.name,
            "as_of": row.as_of,
            "value": row.value,
            "class": row.label,
            "model_version": row.version.number,
        }


def _memberships(people: Sequence[int]) -> Iterator[Document]:
    rows = Membership.objects.filter(customer__in=people).select_related("segment")
    for row in rows.order_by("segment__name"):
        yield {"segment": row.segment.name, "since": row.entered_at}


def _past_memberships(people: Sequence[int]) -> Iterator[Document]:
    rows = PastMembership.objects.filter(customer__in=people).select_related("segment")
    for row in rows.order_by("left_at", "pk"):
        yield {
            "segment": row.segment.name,
            "since": row.entered_at,
            "because_of": row.get_entered_by_display(),
            "until": row.left_at,
            "left_because_of": row.get_left_by_display(),
        }


def _list_entries(people: Sequence[int]) -> Iterator[Document]:
    rows = ListEntry.objects.filter(customer__in=people).select_related("segment")
    for row in rows.order_by("created_at", "pk"):
        yield {"segment": row.segment.name, "put_in": row.is_member, "since": row.created_at}


def _decisions(people: Sequence[int]) -> Iterator[Document]:
    rows = Decision.objects.filter(customer__in=people).select_related(
        "offer", "campaign", "policy", "snapshot"
    )
    for row in rows.order_by("decided_at", "pk").iterator(chunk_size=100):
        why = decisions.explain(row)
        yield {
            "decided_at": row.decided_at,
            "because_of": row.get_cause_display(),
            "offer": row.offer.name if row.offer else None,
            "campaign": row.campaign.name if row.campaign else None,
            "service_priority": row.get_priority_display(),
            "in_words": list(why.summary),
            "considered": [
                {"what": one.title, "answer": one.sentence, "reasons": list(one.reasons)}
                for one in (*why.offers, *why.priorities)
            ],
        }


def _priorities(people: Sequence[int]) -> Iterator[Document]:
    for row in ServicePriority.objects.filter(customer__in=people).select_related("rule"):
        rule = row.rule.name if row.rule else ""
        yield {"level": row.get_level_display(), "by_the_rule": rule, "since": row.since}


def _grants(people: Sequence[int]) -> Iterator[Document]:
    rows = Grant.objects.filter(customer__in=people).select_related("offer", "campaign")
    for row in rows.order_by("pk"):
        yield {
            "offer": row.offer.name,
            "campaign": row.campaign.name,
            "given": row.granted_at,
            "valid_until": row.valid_until,
            "over": row.ended_at,
            "code": row.code or None,
        }


def _said_by_people(people: Sequence[int]) -> Iterator[Document]:
    """Suppressions, priorities set by hand, and reviews: with their reasons, without who of the staff it was."""
    for row in Suppression.objects.filter(customer__in=people).order_by("pk"):
        yield {
            "what": _("suppressed"),
            "channel": row.channel or None,
            "reason": row.reason,
            "until": row.until,
        }
    for one in PriorityOverride.objects.filter(customer__in=people).order_by("pk"):
        level = one.get_level_display()
        yield {"what": _("service priority"), "level": level, "reason": one.reason, "until": one.until}
    for asked in PriorityReview.objects.filter(customer__in=people).select_related("rule").order_by("pk"):
        yield {
            "what": asked.rule.name,
            "level": asked.get_level_display(),
            "answer": asked.get_state_display(),
        }


def _redemptions(people: Sequence[int], shop: Shop) -> Iterator[Document]:
    for row in Redemption.objects.filter(customer__in=people).select_related("offer").order_by("redeemed_at"):
        yield {
            "offer": row.offer.name,
            "when": row.redeemed_at,
            "code": row.code or None,
            "discount": _amount(row.discount_minor, shop),
        }


def _audit(people: Sequence[int]) -> Iterator[Document]:
    """What staff and services did about them; who of the staff it was is not the person's business."""
    entries = AuditEntry.objects.filter(
        object_type=Customer._meta.label_lower, object_id__in=[str(key) for key in people]
    )
    for entry in entries.order_by("pk"):
        yield {"what": entry.action, "when": entry.at}


def _amount(minor: int, shop: Shop) -> str:
    digits = len(str(shop.minor_per_major)) - 1
    return f"{Decimal(minor) / shop.minor_per_major:.{digits}f}"
