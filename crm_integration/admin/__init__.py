"""The staff console of the doors: connections, their messages, and tokens."""

from crm_integration.admin import connections, messages, system, tokens  # noqa: F401
