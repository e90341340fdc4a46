"""Keys of an installation: from the environment, else made once in a private file."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True)
class Keys:
    """django: text · encryption: Fernet keys, newest first · pseudonym: 32 random bytes for HMAC-SHA256."""

    django: str
    encryption: list[str]
    pseudonym: bytes


def load(env: environ.Env, path: Path, *, production: bool) -> Keys:
    """Environment first, then `path`; without either, production refuses to start and others write `path`."""
    if env.str("SECRET_KEY", default=""):
        return _from_environment(env)
    if production:
        raise ImproperlyConfigured(
            "TIERWISE_PRODUCTION needs SECRET_KEY, FIELD_ENCRYPTION_KEYS and PSEUDONYM_KEY in the environment; "
            "`python -m config.keys` prints a fresh set."
        )
    if not path.exists():
        _write_private(path, fresh())
    stored = json.loads(path.read_text())
    return Keys(stored["django"], stored["encryption"], base64.b64decode(stored["pseudonym"]))


def fresh() -> dict[str, str | list[str]]:
    """A new random set; the encryption key is a Fernet key (32 bytes, URL-safe base64)."""
    return {
        "django": secrets.token_urlsafe(50),
        "encryption": [base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()],
        "pseudonym": base64.b64encode(secrets.token_bytes(32)).decode(),
    }


def _from_environment(env: environ.Env) -> Keys:
    try:
        pseudonym = base64.b64decode(env.str("PSEUDONYM_KEY"), validate=True)
        encryption = env.list("FIELD_ENCRYPTION_KEYS")
    except (ValueError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(
            f"SECRET_KEY is set, so FIELD_ENCRYPTION_KEYS and PSEUDONYM_KEY (base64) must be too: {error}"
        ) from error
    return Keys(env.str("SECRET_KEY"), encryption, pseudonym)


def _write_private(path: Path, content: dict[str, str | list[str]]) -> None:
    """Write with mode 0600 through a temporary file; a second process that loses the race keeps the first's."""
    temporary = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        json.dump(content, handle)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


if __name__ == "__main__":
    made = fresh()
    print(f"SECRET_KEY={made['django']}")  # noqa: T201
    print(f"FIELD_ENCRYPTION_KEYS={made['encryption'][0]}")  # noqa: T201
    print(f"PSEUDONYM_KEY={made['pseudonym']}")  # noqa: T201
