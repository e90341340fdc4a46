"""What the operators mean, said as slowly and plainly as possible: the judge of the two real evaluators."""

from __future__ import annotations

import calendar
import math
import re
from datetime import date, timedelta


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
    if op.endswith("matches"):
        return bool(re.search(value, found, re.IGNORECASE)) == (op == "matches")
    if op in ("any_of", "all_of", "none_of"):
        shared = set(found) & set(value)
        return {"any_of": bool(shared), "all_of": shared == set(value), "none_of": not shared}[op]
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
    if op == "not_between":
        return found < value[0] or found > value[1]
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
    if op == "in_period":
        return _in_period(found, value, today)
    if op == "not_in_period":
        return not _in_period(found, value, today)
    if op == "anniversary_in_next_days":
        return any(_comes_round(found, today + timedelta(days=n)) for n in range(value + 1))
    if op == "anniversary_in_last_days":
        return any(_comes_round(found, today - timedelta(days=n)) for n in range(value + 1))
    if op == "anniversary_in_period":
        around = [today + timedelta(days=n) for n in range(-800, 800)]
        return any(_comes_round(found, day) for day in around if _in_period(day, value, today))
    given = [date.fromisoformat(item) for item in (value if isinstance(value, list) else [value])]
    if op == "on":
        return found == given[0]
    if op == "on_or_before":
        return found <= given[0]
    if op == "on_or_after":
        return found >= given[0]
    if op == "before":
        return found < given[0]
    if op == "after":
        return found > given[0]
    if op == "between":
        return given[0] <= found <= given[1]
    raise AssertionError(op)


def _comes_round(birth: date, day: date) -> bool:
    if (birth.month, birth.day) == (2, 29) and not calendar.isleap(day.year):
        return (day.month, day.day) == (2, 28)
    return (birth.month, birth.day) == (day.month, day.day)


def _in_period(day: date, period: str, today: date) -> bool:
    if period in ("today", "yesterday", "tomorrow"):
        return (day - today).days == {"today": 0, "yesterday": -1, "tomorrow": 1}[period]
    which, unit = period.split("_")
    step = {"this": 0, "last": -1, "next": 1}[which]
    if unit == "week":
        return (_monday(day) - _monday(today)).days == 7 * step
    number = {
        "month": lambda one: one.year * 12 + one.month,
        "quarter": lambda one: one.year * 4 + (one.month - 1) // 3,
        "year": lambda one: one.year,
    }[unit]
    return number(day) - number(today) == step


def _monday(day: date) -> date:
    while day.weekday():
        day -= timedelta(days=1)
    return day
