"""What a question about events means, one event after the other: the judge of segmentation/rules/measures.py."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

from segmentation.kinds import EventKind


def measure(spec: dict, events: list[dict], as_of: date, zone, bits: dict[str, int], lines: list[dict] = ()):
    known = [
        dict(
            event,
            day=event["occurred_at"].astimezone(zone).date(),
            lines=[line for line in lines if line["event_id"] == event["event_id"]],
        )
        for event in events
    ]
    known = [event for event in known if event["day"] < as_of]
    facts = sorted([*_orders(known), *_others(known)], key=lambda event: event["occurred_at"])
    counting = [event for event in facts if _counts(spec, event, facts, as_of - timedelta(days=1), bits)]
    what = spec.get("measure", "count")
    if what == "count":
        return float(len(counting))
    if what == "days":
        return float(len({event["day"] for event in counting}))
    if what == "amount":
        return sum(abs(event["amount_minor"]) for event in counting) / 100
    if not counting:
        return None
    if what == "first":
        return counting[0]["day"]
    last = counting[-1]
    if what == "last":
        return last["day"]
    if what == "last_amount":
        return abs(last["amount_minor"]) / 100
    return [name for name, bit in sorted(bits.items()) if last["category_mask"] & (1 << bit)]


def _orders(events: list[dict]) -> list[dict]:
    """Placed orders with what their newest version says; none that were cancelled or cost nothing."""
    found, seen = [], set()
    versions = [event for event in events if event["kind"] in (1, 2, 3)]
    touched = {event["order_hash"] for event in versions if event["kind"] != 1} - {0}
    for event in versions:
        key = event["order_hash"]
        if key in touched:
            if key in seen:
                continue
            seen.add(key)
            tied = [other for other in versions if other["order_hash"] == key]
            if any(other["kind"] == 3 for other in tied):
                continue
            event = dict(tied[-1], occurred_at=tied[0]["occurred_at"], day=tied[0]["day"])
        elif event["kind"] != 1:
            continue
        if event["amount_minor"] > 0:
            found.append(dict(event, slug="order_placed"))
    return found


def _others(events: list[dict]) -> list[dict]:
    return [dict(event, slug=EventKind(event["kind"]).slug) for event in events if event["kind"] != 1]


def _counts(spec, event, facts, today, bits) -> bool:
    if not _picked(spec, event, bits):
        return False
    age = (today - event["day"]).days
    if "within_days" in spec and not 0 <= age < spec["within_days"]:
        return False
    if "older_than_days" in spec and not age > spec["older_than_days"]:
        return False
    if "from" in spec and event["day"] < date.fromisoformat(spec["from"]):
        return False
    if "to" in spec and event["day"] > date.fromisoformat(spec["to"]):
        return False
    later = [other for other in facts if other["occurred_at"] > event["occurred_at"]]
    if "followed_by" in spec and not any(_picked(spec["followed_by"], other, bits) for other in later):
        return False
    return not (
        "not_followed_by" in spec and any(_picked(spec["not_followed_by"], other, bits) for other in later)
    )


def _picked(spec, event, bits) -> bool:
    if event["slug"] not in spec["kind"]:
        return False
    if "category" in spec and not any(event["category_mask"] >> bits[name] & 1 for name in spec["category"]):
        return False
    if "discounted" in spec and (event["discount_minor"] > 0) != spec["discounted"]:
        return False
    if "product" in spec and not any(_line(spec["product"], line) for line in event["lines"]):
        return False
    if "amount" in spec and not _compared(
        abs(event["amount_minor"]), spec["amount"]["op"], round(spec["amount"]["value"] * 100)
    ):
        return False
    if "rating" in spec:
        return event["rating"] is not None and _compared(
            event["rating"], spec["rating"]["op"], spec["rating"]["value"]
        )
    return True


def _line(product, line) -> bool:
    """Prices as fractions: exact, however the amount divides."""
    if "id" in product and line["product"] not in product["id"]:
        return False
    if "category" in product and line["category"] not in product["category"]:
        return False
    if "name" in product and not _named(
        line["name"].lower(), product["name"]["op"], product["name"]["value"].lower()
    ):
        return False
    pieces = abs(line["quantity"])
    if "quantity" in product and not _compared(pieces, **product["quantity"]):
        return False
    if "price" not in product:
        return True
    wanted = Fraction(str(product["price"]["value"]))
    return pieces > 0 and _compared(
        Fraction(abs(line["amount_minor"]), 100 * pieces), product["price"]["op"], wanted
    )


def _named(name, op, value) -> bool:
    return {"is": name == value, "contains": value in name, "starts_with": name[: len(value)] == value}[op]


def _compared(found, op, value) -> bool:
    order = (found > value) - (found < value)
    return order in {"=": (0,), ">": (1,), ">=": (0, 1), "<": (-1,), "<=": (-1, 0)}[op]
