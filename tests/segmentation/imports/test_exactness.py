from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from django.db.models import Sum
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.imports import casts
from segmentation.imports.money import Money
from segmentation.kinds import EventKind
from segmentation.models import Event, EventItem, ExchangeRate

WHEN = datetime(2024, 5, 31, 12, tzinfo=UTC)
prices = st.decimals(min_value=0, max_value=100_000, places=4, allow_nan=False)


def amounts(rows, *, base="GBP", kind=pl.String):
    """Minor units of (quantity, price, currency) lines, as the import computes them."""
    frame = pl.DataFrame(
        {
            "quantity": [quantity for quantity, _p, _c in rows],
            "price": pl.Series([str(price) for _q, price, _c in rows]).cast(kind),
            "currency": [currency for _q, _p, currency in rows],
            "at": pl.Series([WHEN] * len(rows), dtype=pl.Datetime("us", "UTC")),
        }
    )
    frame = frame.with_columns(
        net=pl.col("quantity").cast(pl.Int128) * casts.exact("price", frame.schema["price"]),
        discount=pl.lit(0, dtype=pl.Int128),
    )
    return Money(base, "UTC").convert(frame)


@given(st.lists(st.tuples(st.integers(1, 100_000), prices, st.just("GBP")), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_amounts_equal_decimal_arithmetic_to_the_penny(rows):
    expected = [
        int((quantity * price * 100).to_integral_value(rounding=ROUND_HALF_EVEN))
        for quantity, price, _c in rows
    ]

    assert amounts(rows)["amount_minor"].to_list() == expected


@given(st.integers(1, 10_000), st.decimals(0, 10_000, places=2))
@settings(max_examples=60, deadline=None)
def test_a_price_in_a_float_column_counts_as_the_decimal_it_shows(quantity, price):
    rows = [(quantity, price, "GBP")]

    assert amounts(rows, kind=pl.Float64)["amount_minor"].to_list() == [int(quantity * price * 100)]


@pytest.mark.django_db
@given(price=prices, rate=st.decimals("0.0001", 1000, places=10))
@settings(max_examples=25, deadline=None)
def test_converted_amounts_equal_decimal_arithmetic(price, rate):
    ExchangeRate.objects.update_or_create(day=WHEN.date(), currency="JPY", defaults={"rate": rate})

    (amount,) = amounts([(3, price, "JPY")])["amount_minor"].to_list()

    exact = (3 * price * rate * 100).to_integral_value(rounding=ROUND_HALF_EVEN)
    assert amount == int(exact)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(microsecond=0))
)
@settings(max_examples=60, deadline=None)
def test_local_times_agree_with_the_time_zone_database(moment):
    frame = pl.DataFrame({"t": [moment.isoformat(sep=" ")]})
    (utc,) = frame.select(casts.moment("t", pl.String(), zone="Europe/London"))["t"].to_list()

    expected = moment.replace(tzinfo=ZoneInfo("Europe/London")).astimezone(UTC)
    assert utc == expected


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2024-03-31 01:30:00", 1),  # skipped by the clock: an hour later
        ("2024-10-27 01:30:00", 0),  # shown twice: the first
        ("2024-05-31T12:00:00Z", 12),
        ("2024-05-31 12:00+02:00", 10),
        ("2024-05-31T12:00:00.250-0330", 15),
        ("2024-05-31", 23),  # midnight in summer
    ],
)
def test_hours_that_the_clock_skips_or_repeats_and_offsets(text, hour):
    frame = pl.DataFrame({"t": [text]})
    (utc,) = frame.select(casts.moment("t", pl.String(), zone="Europe/London"))["t"].to_list()

    assert utc.hour == hour


def test_epochs_are_times_and_absurd_ones_are_none():
    frame = pl.DataFrame({"t": [1_700_000_000, 2**62]})
    values = frame.select(casts.moment("t", pl.Int64(), zone="UTC", formats=("epoch_seconds",)))[
        "t"
    ].to_list()

    assert values == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), None]


@pytest.mark.data
@pytest.mark.django_db
def test_a_slice_of_the_real_file_sums_to_the_penny(run, tmp_path, public_data):
    whole = pl.scan_parquet(public_data / "online_retail_ii" / "online_retail_ii.parquet")
    slice_ = whole.filter(pl.col("ts").is_between(datetime(2011, 11, 1), datetime(2011, 11, 4))).collect()
    slice_.write_parquet(tmp_path / "slice.parquet")
    kept = slice_.filter(pl.col("customer_id").is_not_null() & (pl.col("price") > 0))

    report = run(tmp_path / "slice.parquet")
    again = run(tmp_path / "slice.parquet")

    assert (report.rows_read, report.rows_imported) == (len(slice_), len(kept))
    assert again.events_created == 0
    for kind, sign in ((EventKind.ORDER_PLACED, 1), (EventKind.REFUNDED, -1)):
        lines = kept.filter(pl.col("quantity") * sign > 0)
        exact = sum(
            (abs(quantity) * Decimal(str(price)) * 100).to_integral_value(rounding=ROUND_HALF_EVEN)
            for quantity, price in lines.select("quantity", "price").iter_rows()
        )
        events = Event.objects.filter(kind=kind)
        assert events.aggregate(sum=Sum("amount_minor"))["sum"] == exact
        assert events.count() == lines.select("customer_id", "ts").n_unique()
        assert EventItem.objects.filter(event__kind=kind).aggregate(sum=Sum("amount_minor"))["sum"] == exact
        assert events.aggregate(sum=Sum("line_count"))["sum"] == len(lines)
