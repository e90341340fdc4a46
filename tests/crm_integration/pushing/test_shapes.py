"""What a CRM tells of a record is read whatever shape it has."""

from __future__ import annotations

import pytest

from crm_integration.adapters import mautic_push


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ([{"tag": "vip"}, "loyal", 3, None], {"vip", "loyal"}),
        (True, set()),
        ("vip", set()),
        ({"tag": "vip"}, set()),
        (None, set()),
    ],
)
def test_tags_of_a_contact_are_those_of_a_list(told, found):
    assert mautic_push.tags({"tags": told}) == found
