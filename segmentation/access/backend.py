from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User


class StaffBackend(ModelBackend):
    """Reads the second factor along with the person, so that asking for it costs no query of its own."""

    def get_user(self, user_id: Any) -> User | None:
        user = User._default_manager.select_related("second_factor").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None
