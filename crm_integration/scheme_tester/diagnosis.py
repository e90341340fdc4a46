"""From the way that a signature was made to the reasons why the door refuses it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from crm_integration.adapters.base import Adapter, Delivery
from crm_integration.scheme_tester import variants
from crm_integration.scheme_tester.search import Found, Match, Owner, Secret, search, written_in
from crm_integration.schemes import Scheme
from crm_integration.signatures import BadSignature, Reason

# Milliseconds since 1970 have 13 digits for some centuries to come.
LONGEST_TIME = 13


class Cause(StrEnum):
    """`Finding.told` has the names in brackets."""

    FITS = "fits"
    NOT_SET_UP = "not_set_up"
    NO_SECRET = "no_secret"  # noqa: S105
    MISSING_HEADER = "missing_header"  # (header)
    LOOKS_LIKE = "looks_like"  # (kind)
    WRONG_HEADER = "wrong_header"  # (found, expected)
    SECRET_MISREAD = "secret_misread"  # (how)  # noqa: S105
    SECRET_OF_OTHER = "secret_of_other"  # (name)  # noqa: S105
    SECRET_EXPIRED = "secret_expired"  # noqa: S105
    SECRET_TYPED = "secret_typed"  # the one that was typed in fits, the stored one does not  # noqa: S105
    ENCODING = "encoding"  # (found, expected)
    ALGORITHM = "algorithm"  # (found, expected)
    PLAIN_HASH = "plain_hash"  # (base)
    BODY_CHANGED = "body_changed"  # (how)
    BASE = "base"  # (found, expected)
    URL = "url"  # (how)
    TIME_VALUE = "time_value"  # (how)
    ID_VALUE = "id_value"  # (how)
    WRAPPING = "wrapping"  # (expected)
    TOO_OLD = "too_old"  # (seconds, window)
    TOO_NEW = "too_new"  # (seconds, window)
    BAD_TIME = "bad_time"
    MILLISECONDS = "milliseconds"  # where seconds are expected
    BAD_ID = "bad_id"
    NOT_A_SIGNATURE = "not_a_signature"  # (header)
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    cause: Cause
    told: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """`fits`: the door would take it at that time. `made_by`: the label of the secret that made the signature."""

    fits: bool
    findings: tuple[Finding, ...]
    tried: int
    gave_up: bool = False
    made_by: Owner | None = None


def diagnose(
    adapter: Adapter,
    delivery: Delivery,
    *,
    secrets: Sequence[Secret],
    now: int,
    kinds: Mapping[str, Scheme] | None = None,
) -> Diagnosis:
    """Why the door would refuse `delivery` if it arrived at `now` (seconds since 1970).

    `secrets`: the connection's own first, then others to try. `kinds`: schemes by the name of their kind, for
    messages that came to the wrong connection.
    """
    scheme = adapter.scheme_of(delivery.options)
    if scheme is None:
        return Diagnosis(False, (Finding(Cause.NOT_SET_UP),), 0)
    reason = _verdict(adapter, delivery, secrets, now)
    if reason is None:
        return Diagnosis(True, (Finding(Cause.FITS),), 1, made_by=Owner.CURRENT)
    found = search(scheme, delivery, secrets)
    made_by = found.match.secret.owner if found.match else None
    findings = _findings(scheme, delivery, found, reason, secrets=secrets, now=now, kinds=kinds or {})
    return Diagnosis(False, findings, found.tried, found.gave_up, made_by)


def _verdict(adapter: Adapter, delivery: Delivery, secrets: Sequence[Secret], now: int) -> Reason | None:
    """What the door itself says."""
    valid = [secret.value for secret in secrets if secret.owner in {Owner.CURRENT, Owner.PREVIOUS}]
    try:
        adapter.verify(delivery, secrets=valid, now=now)
    except BadSignature as refusal:
        return refusal.reason
    return None


def _findings(
    scheme: Scheme,
    delivery: Delivery,
    found: Found,
    reason: Reason,
    *,
    secrets: Sequence[Secret],
    now: int,
    kinds: Mapping[str, Scheme],
) -> tuple[Finding, ...]:
    clock = _clock(scheme, delivery, now)
    if found.match is not None:
        said = [*_differences(scheme, found.match), *_missing(scheme, delivery.headers, found.match), *clock]
        return tuple(said or [_rest(scheme, delivery, reason)])
    said = []
    if not any(secret.owner is Owner.CURRENT for secret in secrets):
        said.append(Finding(Cause.NO_SECRET))
    said += _missing(scheme, delivery.headers, None)
    said += _other_kind(scheme, delivery.headers, kinds)
    if not said and not variants.candidates({scheme.header: delivery.headers.get(scheme.header, b"")}):
        said.append(Finding(Cause.NOT_A_SIGNATURE, {"header": scheme.header}))
    said += clock
    if not any(one.cause in _EXPLAINS for one in said):
        said.append(Finding(Cause.UNKNOWN))
    return tuple(said)


_EXPLAINS: Collection[Cause] = frozenset(
    {Cause.NO_SECRET, Cause.MISSING_HEADER, Cause.LOOKS_LIKE, Cause.NOT_A_SIGNATURE}
)


def _differences(scheme: Scheme, match: Match) -> list[Finding]:
    """What of the match is not as the scheme says."""
    said = []
    owner, signed, candidate = match.secret.owner, match.signed, match.candidate
    if owner is Owner.OTHER:
        said.append(Finding(Cause.SECRET_OF_OTHER, {"name": match.secret.label}))
    elif owner is Owner.EXPIRED:
        said.append(Finding(Cause.SECRET_EXPIRED))
    elif owner is Owner.TYPED:
        said.append(Finding(Cause.SECRET_TYPED))
    if match.key:
        said.append(Finding(Cause.SECRET_MISREAD, {"how": match.key}))
    if match.is_plain_hash:
        said.append(Finding(Cause.PLAIN_HASH, {"base": signed.base}))
    elif signed.base:
        said.append(Finding(Cause.BASE, {"found": signed.base, "expected": scheme.base}))
    if match.algorithm != scheme.algorithm:
        said.append(Finding(Cause.ALGORITHM, {"found": match.algorithm, "expected": scheme.algorithm}))
    if candidate.encoding != written_in(scheme):
        said.append(Finding(Cause.ENCODING, {"found": candidate.encoding, "expected": written_in(scheme)}))
    if candidate.header not in {scheme.header, *scheme.aliases}:
        said.append(Finding(Cause.WRONG_HEADER, {"found": candidate.header, "expected": scheme.header}))
    for cause, how in (
        (Cause.BODY_CHANGED, signed.body),
        (Cause.URL, signed.url),
        (Cause.TIME_VALUE, signed.time),
        (Cause.ID_VALUE, signed.id),
    ):
        if how:
            said.append(Finding(cause, {"how": how}))
    return said


def _missing(scheme: Scheme, headers: Mapping[str, bytes], match: Match | None) -> list[Finding]:
    """Headers that the scheme needs and that are not there; a signature found elsewhere is said otherwise."""
    wanted = [] if match else [scheme.header]
    wanted += [scheme.timestamp_header] if scheme.signs_time else []
    wanted += [scheme.id_header] if scheme.signs_id else []
    there = set(headers)
    if there & set(scheme.aliases):
        there.add(scheme.header)
    return [Finding(Cause.MISSING_HEADER, {"header": name}) for name in wanted if name and name not in there]


def _other_kind(scheme: Scheme, headers: Mapping[str, bytes], kinds: Mapping[str, Scheme]) -> list[Finding]:
    if scheme.header in headers or set(scheme.aliases) & set(headers):
        return []
    names = [name for name, other in kinds.items() if other.header in headers]
    return [Finding(Cause.LOOKS_LIKE, {"kind": names[0]})] if names else []


def _clock(scheme: Scheme, delivery: Delivery, now: int) -> list[Finding]:
    if not scheme.signs_time:
        return []
    times = variants.times(scheme, delivery.headers)
    if not times or times[0].name:
        return []
    stamp = times[0].value
    if not stamp.isdigit() or len(stamp) > LONGEST_TIME:
        return [Finding(Cause.BAD_TIME)]
    moment = int(stamp) / 1000 if len(stamp) == 13 else int(stamp)
    late = int(now - moment)
    if abs(late) <= scheme.window:
        return []
    cause = Cause.TOO_OLD if late > 0 else Cause.TOO_NEW
    return [Finding(cause, {"seconds": abs(late), "window": scheme.window})]


def _rest(scheme: Scheme, delivery: Delivery, reason: Reason) -> Finding:
    """The signature is right and the door still refuses: the writing around it."""
    if reason is Reason.BAD_TIMESTAMP:
        stamp = delivery.headers.get(scheme.timestamp_header, b"")
        return Finding(Cause.MILLISECONDS if len(stamp) == 13 and stamp.isdigit() else Cause.BAD_TIME)
    if reason is Reason.BAD_MESSAGE_ID:
        return Finding(Cause.BAD_ID)
    return Finding(Cause.WRAPPING, {"expected": scheme.wrapping})
