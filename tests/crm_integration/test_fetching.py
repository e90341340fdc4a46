"""Records are fetched whole or not at all, and credentials go nowhere but to the vendor."""

from __future__ import annotations

import pytest

from crm_integration import fetching, http
from crm_integration.http import DeliveryError


def ask(vendor, answer):
    vendor.answers["/records"] = [answer]
    return fetching.Api(vendor.root, fetching.bearer("token"), vendor.waits.append).get("/records", page=2)


def test_an_answer_comes_whole_with_its_headers(vendor):
    answer = ask(vendor, (200, {"X-More": "yes"}, [{"id": 1}]))
    assert fetching.rows(fetching.content(answer)) == [{"id": 1}]
    assert answer.headers["x-more"] == "yes"
    (request,) = vendor.asked
    assert (request.query, request.headers["authorization"]) == ({"page": "2"}, "Bearer token")


def test_a_page_larger_than_the_limit_is_refused_instead_of_cut(vendor, monkeypatch):
    monkeypatch.setattr(http, "MAX_PAGE_BYTES", 100)
    with pytest.raises(DeliveryError, match="larger than"):
        ask(vendor, (200, {}, b"x" * 101))
    assert ask(vendor, (200, {}, b"[" + b" " * 98 + b"]")).status == 200


def test_an_answer_that_breaks_off_is_no_answer(vendor):
    with pytest.raises(DeliveryError, match="broke off"):
        ask(vendor, (200, {"Content-Length": "500", "Connection": "close"}, b'[{"id": 1}]'))


def test_a_redirect_is_not_followed(vendor):
    with pytest.raises(DeliveryError, match="302"):
        ask(vendor, (302, {"Location": f"{vendor.root}/elsewhere"}, b""))
    assert vendor.paths() == ["/records"]


@pytest.mark.parametrize("root", ["https://10.0.0.1", "http://shop.example.com", "https://169.254.169.254"])
def test_a_private_or_open_address_is_never_asked(root):
    with pytest.raises(DeliveryError) as refused:
        fetching.Api(root, fetching.bearer("token")).get("/records")
    assert refused.value.permanent


def test_a_crm_that_stays_busy_is_left_until_later(vendor):
    with pytest.raises(DeliveryError) as busy:
        ask(vendor, (429, {"Retry-After": "3"}, {}))
    assert (len(vendor.asked), vendor.waits) == (fetching.TRIES, [3.0, 3.0])
    assert busy.value.retry_after.total_seconds() == 3


@pytest.mark.parametrize("status", [404, 410])
def test_a_record_that_is_gone_is_none(vendor, status):
    assert ask(vendor, (status, {}, {})) is None


@pytest.mark.parametrize("status", [404, 410])
def test_a_list_that_is_not_there_is_an_error_that_names_its_address_alone(vendor, status):
    vendor.answers["/records"] = [(status, {}, {})]
    api = fetching.Api(vendor.root, fetching.bearer("token"))
    for ask_for in (lambda: api.get_list("/records", page=2), lambda: api.post_list("/records", {"page": 2})):
        with pytest.raises(DeliveryError, match="/records[.]") as refused:
            ask_for()
        assert refused.value.permanent


@pytest.mark.parametrize("told", [1, "text", [1], {"rows": 1}, {"rows": [1]}, None])
def test_an_answer_of_another_shape_is_no_list_of_records(told):
    with pytest.raises(DeliveryError):
        fetching.rows(told, "rows")
