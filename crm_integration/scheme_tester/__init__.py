"""Says why a signature does not fit: pure functions, no database, no network, and no secret in any answer."""

from crm_integration.scheme_tester.diagnosis import Cause, Diagnosis, Finding, diagnose
from crm_integration.scheme_tester.reading import TooMuch, read_headers
from crm_integration.scheme_tester.search import Owner, Secret

__all__ = ["Cause", "Diagnosis", "Finding", "Owner", "Secret", "TooMuch", "diagnose", "read_headers"]
