from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from django.utils import timezone

from segmentation import attributes, consents, contacts, identities, imports, ingest
from segmentation.imports import ImportProblem
from segmentation.models import (
    AttributeDefinition,
    AttributeValue,
    Consent,
    Customer,
    Event,
    EventSource,
    ImportRun,
)
from segmentation.normal import NormalConsent, NormalCustomer
from tests.segmentation.imports.conftest import write

pytestmark = pytest.mark.django_db
HEADINGS = ("id", "mail", "land", "joined", "ok", "ok_at", "size", "vip", "group", "born")
ROWS = [
    ("1", "a@example.com", "GB", "2023-01-01", "granted", "2023-02-01", "42", "yes", "red", "1990-05-31"),
    ("2", "b@example.com", "FR", "2023-01-02", "denied", "2023-02-02", "39.5", "no", "blue", ""),
    ("3", "", "", "", "unknown", "", "", "", "red", ""),
]
MAPPING = {
    "columns": {
        "customer": "id", "email": "mail", "country": "land", "signed_up_at": "joined", "marketing_consent": "ok",
        "marketing_consent_at": "ok_at", "birthday": "born",
    },
    "attributes": {
        "shoe_size": {"column": "size", "feature": True},
        "vip": {"valid_from": "signed_up_at"},
        "group": {"kind": "choice", "label": "Colour group", "target": True, "valid_from": "joined"},
    },
}  # fmt: skip


def load(run, path, **changes):
    return run(path, kind="customers", mapping={**MAPPING, **changes})


def test_customers_their_contacts_consents_and_attributes_come_in(run, tmp_path):
    report = load(run, write(tmp_path / "people.csv", ROWS, HEADINGS))

    assert (report.rows_read, report.rows_imported, report.customers_created) == (3, 3, 3)
    one = Customer.objects.get(reference="1")
    assert (one.country, one.signed_up_at) == ("GB", datetime(2023, 1, 1, tzinfo=UTC))
    assert contacts.read(one).email == "a@example.com"
    assert dict(Consent.objects.values_list("customer__reference", "status")) == {
        "1": "granted",
        "2": "denied",
    }
    group = AttributeDefinition.objects.get(slug="group")
    assert (group.kind, group.label, group.is_label, group.choices) == (
        "choice",
        "Colour group",
        True,
        ["red", "blue"],
    )
    size = AttributeDefinition.objects.get(slug="shoe_size")
    assert (size.kind, size.is_feature, size.is_label) == ("number", True, False)
    assert attributes.read(one.pk, at=datetime(2023, 1, 1, tzinfo=UTC)) == {"vip": True, "group": "red"}


def test_importing_customers_twice_adds_nothing(run, tmp_path):
    path = write(tmp_path / "people.csv", ROWS, HEADINGS)
    load(run, path)
    values = AttributeValue.objects.count()

    report = load(run, path)

    assert (report.rows_imported, report.rows_repeated) == (0, 3)
    assert AttributeValue.objects.count() == values


@pytest.mark.parametrize("name", ["people.parquet", "people.xlsx"])
def test_typed_files_give_typed_attributes(run, tmp_path, name):
    headings = ("id", "score", "vip", "since")
    rows = [(1, 1.5, True, datetime(2020, 1, 2)), (2, 2.0, False, datetime(2021, 1, 2))]
    path = tmp_path / name
    if name.endswith("parquet"):
        pl.DataFrame(rows, schema=list(headings), orient="row").write_parquet(path)
    else:
        write(path, rows, headings)

    run(path, kind="customers", mapping={"columns": {"customer": "id"}, "attributes": "all"})

    kinds = dict(AttributeDefinition.objects.values_list("slug", "kind"))
    assert kinds == {"score": "number", "vip": "boolean", "since": "date"}
    values = attributes.read(Customer.objects.get(reference="1").pk, at=datetime(2100, 1, 1, tzinfo=UTC))
    assert (values["score"], values["vip"], str(values["since"])) == (1.5, True, "2020-01-02")


def test_a_labelled_table_without_events_is_attributes_alone(run, tmp_path):
    rows = [(n, n / 10, "yes" if n % 3 else "no") for n in range(20)]
    mapping = {
        "columns": {"customer": "id"},
        "attributes": {"x": {"feature": True}, "y": {"target": True, "rule_field": False}},
    }

    run(write(tmp_path / "table.csv", rows, ("id", "x", "y")), kind="customers", mapping=mapping)

    assert not Event.objects.exists()
    assert AttributeValue.objects.count() == 40
    label = AttributeDefinition.objects.get(slug="y")
    assert (label.kind, label.is_label, label.is_rule_field) == ("boolean", True, False)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"id": ""}, "no id"),
        ({"joined": "soon"}, "soon"),
        ({"joined": "1850-01-01"}, "before 1990"),
        ({"ok": "perhaps"}, "consent"),
        ({"size": "large"}, "large"),
        ({"born": "yesterday"}, "yesterday"),
        ({"born": "1700-01-01"}, "birthday"),
        ({"mail": "m" * 300}, "300 characters"),
        ({"id": "2"}, "in the file before"),
    ],
)
def test_a_bad_line_is_rejected_as_a_whole_and_the_rest_is_imported(run, tmp_path, change, word):
    AttributeDefinition.objects.create(slug="shoe_size", label="Shoe size", kind="number")
    bad = dict(zip(HEADINGS, ("9", *ROWS[0][1:]), strict=True)) | change

    report = load(run, write(tmp_path / "people.csv", [*ROWS[1:], tuple(bad.values())], HEADINGS))

    assert (report.rows_imported, report.rows_rejected) == (2, 1)
    assert word in report.reject_reasons[0]
    assert set(Customer.objects.values_list("reference", flat=True)) == {"2", "3"}


def test_a_missing_attribute_column_is_named(run, tmp_path):
    with pytest.raises(ImportProblem, match="lacks the columns colour"):
        load(run, write(tmp_path / "people.csv", ROWS, HEADINGS), attributes={"colour": {}})


def test_an_existing_definition_keeps_its_kind_and_settings(run, tmp_path):
    AttributeDefinition.objects.create(slug="group", label="My group", kind="text", is_feature=True)

    load(run, write(tmp_path / "people.csv", ROWS, HEADINGS))

    group = AttributeDefinition.objects.get(slug="group")
    assert (group.label, group.kind, group.is_feature, group.is_label) == ("My group", "text", True, False)


UNDATED = {"columns": {"customer": "id", "marketing_consent": "ok"}, "attributes": {"size": {}}}


def handed_in(tmp_path, size, ok, *, hours_ago):
    """An undated file about customer 1 that has waited so long for a worker."""
    path = write(tmp_path / f"{size}.csv", [("1", ok, size)], ("id", "ok", "size"))
    row = imports.request_run(imports.Request(path=path, kind="customers", mapping=UNDATED))
    ImportRun.objects.filter(pk=row.pk).update(created_at=timezone.now() - timedelta(hours=hours_ago))
    return row


def now_held():
    customer = Customer.objects.get(reference="1")
    answers = consents.alone([customer.pk])
    return attributes.read(customer.pk, at=timezone.now()), set(answers.values())


def test_an_undated_file_that_waited_does_not_overrule_what_came_meanwhile(tmp_path):
    waiting = handed_in(tmp_path, "42", "granted", hours_ago=3)
    meanwhile = timezone.now() - timedelta(hours=1)
    refusal = NormalConsent("marketing", "denied", meanwhile)
    ingest.record_customers(
        [NormalCustomer(reference="1", consents=(refusal,), attributes={"size": 44})],
        namespace=identities.SHOP,
        source=EventSource.objects.create(slug="crm"),
        received_at=meanwhile,
        cause="webhook",
    )
    imports.work(waiting.pk)
    assert ImportRun.objects.get().rows_imported == 1
    assert now_held() == ({"size": 44}, {"denied"})


def test_of_two_undated_files_the_one_handed_in_later_counts_whichever_is_worked_first(tmp_path):
    older = handed_in(tmp_path, "42", "granted", hours_ago=3)
    newer = handed_in(tmp_path, "44", "denied", hours_ago=1)
    for row in (newer, older):
        imports.work(row.pk)
    assert now_held() == ({"size": 44}, {"denied"})


def test_an_undated_file_handed_in_after_a_message_counts(tmp_path):
    ingest.record_customers(
        [NormalCustomer(reference="1", attributes={"size": 44})],
        namespace=identities.SHOP,
        source=EventSource.objects.create(slug="crm"),
        received_at=timezone.now() - timedelta(hours=2),
        cause="webhook",
    )
    imports.work(handed_in(tmp_path, "42", "granted", hours_ago=1).pk)
    assert now_held() == ({"size": 42}, {"granted"})
