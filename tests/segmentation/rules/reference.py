"""What the operators mean, said as slowly and plainly as possible: the judge of the two real evaluators."""

from __future__ import annotations

import math
from datetime import date


def fits(rule: dict, row: dict, today: date) -> bool:
    """A rule as JSON on a row of plain values."""
    if "all" in rule:
        return all(fits(child, row, today) for child in rule["all"])
    if "any" in rule:
        return any(fits(child, row, today) for child in rule["any"])
    if "none" in rule:
        return not any(fits(child, row, today) for child in rule["none"])
    found, op, value = row[rule["field"]], rule["op"], rule.get("value")
    if rule["field"].startswith("segment."):
        inside = bool(found)
        return inside if op == "in" else not inside
    missing = found is None or found == "" or (isinstance(found, float) and math.isnan(found))
    if op == "is_empty":
        return missing
    if missing:
        return False
    if op == "is_not_empty":
        return True
    if rule["field"] == "customer.country":
        found = found.lower()
        value = [item.lower() for item in value] if isinstance(value, list) else str(value).lower()
    if rule["field"] == "attribute.birthday":
        return _date(found, op, value, today)
    return _plain(found, op, value)


def _plain(found, op, value) -> bool:
    if op in ("=", "is"):
        return found == value
    if op in ("!=", "is_not"):
        return found != value
    if op == "in":
        return found in value
    if op == "not_in":
        return found not in value
    if op == ">":
        return found > value
    if op == ">=":
        return found > value or found == value
    if op == "<":
        return found < value
    if op == "<=":
        return found < value or found == value
    if op == "between":
        return value[0] <= found and found <= value[1]
    if op == "contains":
        return found.find(value) >= 0
    if op == "not_contains":
        return found.find(value) < 0
    if op == "starts_with":
        return found[: len(value)] == value
    if op == "ends_with":
        return len(found) >= len(value) and found[len(found) - len(value) :] == value
    raise AssertionError(op)


def _date(found: date, op: str, value, today: date) -> bool:
    ago = (today - found).days
    if op == "within_days":
        return 0 <= ago <= value
    if op == "older_than_days":
        return ago > value
    if op == "in_next_days":
        return -value <= ago <= 0
    given = [date.fromisoformat(item) for item in (value if isinstance(value, list) else [value])]
    if op == "on":
        return found == given[0]
    if op == "before":
        return found < given[0]
    if op == "after":
        return found > given[0]
    if op == "between":
        return given[0] <= found <= given[1]
    raise AssertionError(op)
