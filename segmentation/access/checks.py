"""What `manage.py check`, and with it `migrate`, says of the settings of signing in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from segmentation.access.second_factor import EVERYONE, SUPERUSERS
from segmentation.roles import ROLES


@register(Tags.security)
def second_factor_names(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A name that nobody has would require a second factor of nobody, without a word."""
    known = (EVERYONE, SUPERUSERS, *(role.name for role in ROLES))
    folded = {name.casefold() for name in known}
    return [
        Error(
            f"SECOND_FACTOR_REQUIRED names “{name}”, which is no role: it would be required of nobody.",
            hint=f"Known are: {', '.join(known)}.",
            id="segmentation.E001",
        )
        for name in settings.SECOND_FACTOR_REQUIRED
        if name.casefold() not in folded
    ]
