"""The staff console of the doors: connections and their messages."""

from crm_integration.admin import connections, messages  # noqa: F401
