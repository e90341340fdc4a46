import json
from datetime import UTC, datetime

import pytest

from segmentation.imports import ImportProblem
from segmentation.imports.mapping import customer_mapping, event_mapping, read_json
from segmentation.kinds import EventKind
from segmentation.models import (
    Category,
    Customer,
    Event,
    EventCode,
    EventText,
    ExchangeRate,
    Offer,
    Redemption,
    Shop,
)
from tests.segmentation.imports.conftest import contents, write

pytestmark = pytest.mark.django_db
COLUMNS = {"customer": "who", "time": "when"}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({}, "columns"),
        ({"columns": {"customer": "who"}}, "columns.time"),
        ({"columns": {"time": "when"}}, "columns"),
        ({"columns": {**COLUMNS, "colour": "c"}}, "columns.colour"),
        ({"columns": {**COLUMNS, "order": 5}}, "columns.order"),
        ({"columns": []}, "columns"),
        ({"columns": COLUMNS, "colums": {}}, "colums"),
        ({"columns": COLUMNS, "kind": "bought"}, "kind"),
        ({"columns": COLUMNS, "kinds": {"sale": "bought"}}, "kinds.sale"),
        ({"columns": COLUMNS, "currency": "pounds"}, "currency"),
        ({"columns": COLUMNS, "time_zone": "London"}, "time_zone"),
        ({"columns": COLUMNS, "time_format": 5}, "time_format"),
        ({"columns": COLUMNS, "decimal": ";"}, "decimal"),
        ({"columns": COLUMNS, "group_by": "day"}, "group_by"),
        ({"columns": COLUMNS, "free_lines": True}, "free_lines"),
        ({"columns": COLUMNS, "source": 1}, "source"),
    ],
)
def test_a_wrong_mapping_of_events_names_the_key(content, key):
    with pytest.raises(ImportProblem, match=f"“{key}”"):
        event_mapping(content)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"columns": {"email": "e"}}, "columns.customer"),
        ({"columns": {"customer": "c"}, "attributes": 3}, "attributes"),
        ({"columns": {"customer": "c"}, "attributes": [{"size": {}}]}, "attributes"),
        ({"columns": {"customer": "c"}, "attributes": {"size": 3}}, "attributes.size"),
        ({"columns": {"customer": "c"}, "attributes": {"size": {"kind": "big"}}}, "attributes.size.kind"),
        (
            {"columns": {"customer": "c"}, "attributes": {"size": {"feature": "yes"}}},
            "attributes.size.feature",
        ),
        ({"columns": {"customer": "c"}, "attributes": {"size": {"colour": 1}}}, "attributes.size.colour"),
        ({"columns": {"customer": "c"}, "currency": "GBP"}, "currency"),
    ],
)
def test_a_wrong_mapping_of_customers_names_the_key(content, key):
    with pytest.raises(ImportProblem, match=f"“{key}”"):
        customer_mapping(content)


@pytest.mark.parametrize(
    ("text", "word"), [("{", "line 1, column 2"), ("[]", "object in braces"), ('{"a": 1,}', "not valid JSON")]
)
def test_a_mapping_that_is_no_json_says_where(tmp_path, text, word):
    (tmp_path / "map.json").write_text(text)

    with pytest.raises(ImportProblem, match=word):
        read_json(tmp_path / "map.json")


def test_a_mapping_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ImportProblem, match="cannot be read"):
        read_json(tmp_path / "none.json")


MAPPING = {
    "columns": {
        "event": "id", "kind": "what", "time": "when", "customer": "who", "product": "sku", "category": "group",
        "quantity": "n", "unit_price": "each", "discount": "off", "currency": "money", "rating": "stars", "text": "said",
    },
    "kinds": {"sale": "order_placed", "refund": "refunded", "view": "viewed", "review": "reviewed"},
    "time_zone": "Europe/Berlin",
    "time_format": "%d.%m.%Y %H:%M",
    "decimal": ",",
    "source": "till",
}  # fmt: skip
HEADINGS = ("id", "what", "when", "who", "sku", "group", "n", "each", "off", "money", "stars", "said")


def test_a_mapped_file_with_kinds_discounts_decimal_commas_and_local_dates(run, tmp_path):
    ExchangeRate.objects.create(day="2024-05-31", currency="EUR", rate="0.85")
    rows = [
        ("e1", "sale", "31.05.2024 14:00", "C1", "A", "Cups", "2", "1.010,50", "20,99", "EUR", "", ""),
        ("e1", "sale", "31.05.2024 14:00", "C1", "B", "Cups", "1", "0,99", "", "eur", "", ""),
        ("e2", "view", "2024-05-30T10:00:00Z", "C1", "A", "", "", "", "", "", "", ""),
        ("e3", "review", "2024-06-01 09:00+02:00", "C1", "A", "", "", "", "", "", "4", "Nice cups"),
        ("e4", "refund", "02.06.2024 14:00", "C1", "B", "", "1", "0,99", "", "GBP", "", ""),
    ]

    report = run(write(tmp_path / "till.csv", rows, HEADINGS), mapping=MAPPING)

    assert (report.rows_imported, report.rows_rejected) == (5, 0)
    events = {event.source_key: event for event in Event.objects.all()}
    sale = events["e1"]
    assert sale.occurred_at == datetime(2024, 5, 31, 12, tzinfo=UTC)
    assert (sale.original_amount_minor, sale.currency) == (200001 + 99, "EUR")
    assert sale.amount_minor == 170001 + 84  # 1700.0085 and 0.8415, line by line
    assert sale.discount_minor == 1784
    assert sale.category_mask == 1 << Category.objects.get().number
    assert events["e2"].kind == EventKind.VIEWED
    assert events["e2"].occurred_at == datetime(2024, 5, 30, 10, tzinfo=UTC)
    assert (events["e3"].rating, events["e3"].occurred_at.hour) == (4.0, 7)
    assert EventText.objects.get().event == events["e3"]
    assert (events["e4"].kind, events["e4"].amount_minor) == (EventKind.REFUNDED, 99)
    assert events["e1"].source.slug == "till"


def test_an_event_that_a_second_file_continues_keeps_its_words(run, tmp_path):
    said = ("e3", "review", "01.06.2024 09:00", "C1", "A", "", "1", "", "", "GBP", "4", "Nice cups")
    more = ("e3", "review", "01.06.2024 09:00", "C1", "B", "", "1", "", "", "GBP", "4", "")
    run(write(tmp_path / "one.csv", [said], HEADINGS), mapping=MAPPING)
    run(write(tmp_path / "two.csv", [more], HEADINGS), mapping=MAPPING)
    current = Event.objects.get(superseded_at=None)
    assert current.line_count == 2
    assert EventText.objects.filter(event=current).exists()


def test_lines_without_a_rate_are_rejected_with_currency_and_day(run, tmp_path):
    rows = [
        ("e1", "sale", "31.05.2024 14:00", "C1", "A", "", "1", "1", "", "EUR", "", ""),
        ("e2", "sale", "31.05.2024 14:00", "C1", "A", "", "1", "1", "", "GBP", "", ""),
    ]

    report = run(write(tmp_path / "till.csv", rows, HEADINGS), mapping=MAPPING)

    assert (report.rows_imported, report.rows_rejected) == (1, 1)
    assert report.reject_reasons == [
        "There is no exchange rate for EUR on 2024-05-31; add one under Exchange rates."
    ]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"what": "sold"}, "kind of event"),
        ({"money": "pounds"}, "currency code"),
        ({"id": ""}, "no id"),
        ({"off": "5"}, "discount is larger"),
        ({"off": "-1"}, "negative"),
        ({"stars": "6"}, "between 1 and 5"),
        ({"said": "x" * 20_001}, "20001 characters"),
        ({"when": "1.1.2024"}, "not a date"),
    ],
)
def test_a_mapped_line_that_cannot_be_true_is_rejected(run, tmp_path, change, word):
    good = ("e2", "sale", "31.05.2024 14:00", "C1", "A", "", "1", "1", "", "GBP", "", "")
    bad = dict(zip(HEADINGS, ("e1", *good[1:]), strict=True)) | change

    report = run(write(tmp_path / "till.csv", [good, tuple(bad.values())], HEADINGS), mapping=MAPPING)

    assert report.rows_rejected == 1
    assert word in report.reject_reasons[0]


def test_a_higher_version_replaces_and_a_lower_one_that_comes_later_does_not(run, tmp_path):
    mapping = {
        "columns": {"event": "id", "version": "v", "time": "when", "customer": "who", "amount": "total"},
    }
    headings = ("id", "v", "when", "who", "total")

    def load(name, *rows):
        return run(write(tmp_path / name, [("e1", *row) for row in rows], headings), mapping=mapping)

    load("a.csv", (2, "2024-01-01", "C1", "20.00"))
    load("b.csv", (1, "2024-01-01", "C1", "10.00"), (3, "2024-01-01", "C1", "30.00"))
    again = load("b.csv", (1, "2024-01-01", "C1", "10.00"), (3, "2024-01-01", "C1", "30.00"))

    assert again.events_created == 0
    versions = Event.objects.order_by("source_version")
    assert [(event.amount_minor, event.superseded_at is None) for event in versions] == [
        (1000, False),
        (2000, False),
        (3000, True),
    ]


def test_an_event_id_of_another_customer_is_rejected_and_not_lost_in_silence(run, tmp_path):
    mapping = {"columns": {"event": "id", "time": "when", "customer": "who", "amount": "total"}}
    rows = [("e1", "2024-01-01", "C1", "1"), ("e1", "2024-01-01", "C2", "2")]

    report = run(write(tmp_path / "a.csv", rows, ("id", "when", "who", "total")), mapping=mapping)
    again = run(write(tmp_path / "b.csv", rows[::-1], ("id", "when", "who", "total")), mapping=mapping)

    assert (report.rows_imported, report.rows_rejected) == (1, 1)
    assert "another customer" in report.reject_reasons[0]
    assert (again.rows_repeated, again.rows_rejected) == (1, 1)


def test_a_negative_amount_is_a_return(run, tmp_path):
    mapping = {"columns": {"order": "no", "time": "when", "customer": "who", "amount": "total"}}
    run(
        write(tmp_path / "a.csv", [("1", "2024-01-01", "C1", "-3.50")], ("no", "when", "who", "total")),
        mapping=mapping,
    )

    event = Event.objects.get()
    assert (event.kind, event.amount_minor, event.order_key) == (EventKind.REFUNDED, 350, "1")


def test_orders_group_by_their_number_and_without_one_by_customer_time_and_sign(run, tmp_path):
    mapping = {"columns": {"order": "no", "time": "when", "customer": "who", "amount": "total"}}
    rows = [
        ("1", "2024-01-01 10:00", "C1", "1"),
        ("1", "2024-01-01 10:01", "C1", "2"),
        ("", "2024-01-01 10:00", "C1", "4"),
        ("", "2024-01-01 10:00", "C1", "8"),
        ("", "2024-01-01 10:02", "C1", "16"),
    ]
    run(write(tmp_path / "a.csv", rows, ("no", "when", "who", "total")), mapping=mapping)

    assert sorted(row[4] for row in contents()) == [300, 1200, 1600]


def test_guests_join_by_email_and_are_counted_where_there_is_none(run, tmp_path):
    mapping = {"columns": {"email": "mail", "customer": "who", "time": "when", "amount": "total"}}
    rows = [
        ("ada@example.com", "", "2024-01-01", "1"),
        ("ADA@example.com", "", "2024-01-02", "2"),
        ("", "", "2024-01-03", "4"),
    ]

    report = run(write(tmp_path / "a.csv", rows, ("mail", "who", "when", "total")), mapping=mapping)

    assert (report.rows_imported, report.skipped) == (2, {"no_customer": 1})
    assert Customer.objects.get().reference.startswith("guest:")
    assert Event.objects.count() == 2


def test_the_command_line_overrules_currency_and_time_zone(run, tmp_path):
    Shop.objects.update(base_currency="USD")
    ExchangeRate.objects.create(day="2024-01-01", currency="EUR", rate="1.1")
    mapping = {"columns": {"customer": "who", "time": "when", "amount": "total"}, "currency": "GBP"}
    path = write(tmp_path / "a.csv", [("C1", "2024-01-01 12:00", "10")], ("who", "when", "total"))

    run(path, mapping=mapping, currency="EUR", time_zone="America/New_York")

    event = Event.objects.get()
    assert (event.amount_minor, event.occurred_at.hour) == (1100, 17)


def test_neither_or_both_of_preset_and_mapping_are_refused(run, tmp_path):
    path = write(tmp_path / "a.csv", [("C1",)], ("who",))
    for options in ({"preset": "", "mapping": None}, {"preset": "tierwise", "mapping": {}}):
        with pytest.raises(ImportProblem, match="one of the two"):
            run(path, **options)
    with pytest.raises(ImportProblem, match="no preset shopify"):
        run(path, preset="shopify")


def test_json_of_a_request_survives_the_way_to_a_worker(tmp_path):
    from segmentation.imports import Request

    request = Request(
        tmp_path / "a.csv", kind="events", mapping=MAPPING, currency="EUR", rejects=tmp_path / "r.csv"
    )

    assert Request.from_json("events", json.loads(json.dumps(request.as_json()))) == request


def test_codes_of_orders_are_redemptions_and_stay_with_an_order_that_goes_on(run, tmp_path):
    spring = Offer.objects.create(slug="spring", name="Spring", kind="gift", text="x", code="SPRING")
    columns = {"customer": "who", "time": "when", "order": "nr", "product": "sku", "quantity": "n", "unit_price": "each",
               "codes": "coupon"}  # fmt: skip
    mapping = {"columns": columns, "time_zone": "UTC", "source": "till"}
    headings = ("who", "when", "nr", "sku", "n", "each", "coupon")
    at = "2024-05-31 14:00"
    first = [
        ("C1", at, "O1", "A", "1", "9.00", "spring; FIVE"),
        ("C1", at, "O1", "B", "1", "5.00", "spring; FIVE"),
    ]
    run(write(tmp_path / "a.csv", first, headings), mapping=mapping)
    run(write(tmp_path / "a.csv", first, headings), mapping=mapping)
    assert sorted(EventCode.objects.values_list("code", flat=True)) == ["FIVE", "spring"]
    redeemed = Redemption.objects.get()
    assert (redeemed.offer, redeemed.event.amount_minor) == (spring, 1400)

    more = [*first, ("C1", at, "O1", "C", "1", "2.00", "")]
    run(write(tmp_path / "b.csv", [row[:6] + ("",) for row in more], headings), mapping=mapping)
    redeemed = Redemption.objects.get()
    assert redeemed.event.superseded_at is None
    assert redeemed.event.amount_minor == 1600
