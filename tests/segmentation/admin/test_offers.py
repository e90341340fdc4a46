"""Offers, codes and campaigns as managers edit them: limits, texts, two people at once, approval."""

from __future__ import annotations

from io import BytesIO

import pytest
from django.core.exceptions import ValidationError

from segmentation import campaigns, offer_texts, policy_backtests, targets
from segmentation.decisions import limits
from segmentation.models import (
    AttributeDefinition,
    AuditEntry,
    Campaign,
    DueCustomer,
    ModelVersion,
    Offer,
    OfferCode,
    PolicyBacktest,
    Product,
    ProductSuggestion,
    ServicePriorityRule,
    Shop,
    Suppression,
    Target,
    Usage,
)
from tests.segmentation.admin import world
from tests.segmentation.admin.test_campaigns import form, html
from tests.segmentation.admin.world import page


def offer_form(**fields):
    return {
        "name": "Gift", "slug": "gift", "kind": "gift", "text": "For {reference}: {code}", "percentage": "", "points": "",
        "value": "5", "cost": "3", "codes": "one", "code": "HI", "valid_days": 30, "is_active": "on",
        "limit_total": "", "limit_per_customer": "", "limit_money": "",
        "products_count": 3, "products_fallback": "", "texts-TOTAL_FORMS": 0, "texts-INITIAL_FORMS": 0, **fields,
    }  # fmt: skip


def loaded(client, offer, content: bytes):
    file = BytesIO(content)
    file.name = "codes.csv"
    return client.post(page("offer_codes", offer.pk), {"codes": file}, follow=True)


def test_an_offer_keeps_its_limits_and_its_texts(admin_client):
    texts = {"texts-TOTAL_FORMS": 1, "texts-0-language": "de", "texts-0-text": "Für {reference}"}
    answer = admin_client.post(page("offer_add"), offer_form(limit_total=9, limit_money="12.5", **texts))
    assert answer.status_code == 302, answer.context["errors"]
    made = Offer.objects.get()
    assert (made.limit_total, made.limit_money_minor) == (9, 1250)
    assert (made.usage.most, made.usage.most_minor) == (9, 1250)
    world.customer("K-7")
    shown = html(admin_client.get(page("offer_text", made.pk)))
    assert "For K-7: HI" in shown
    assert "Für K-7" in shown


def suggested(customer, *numbers):
    """The customer will probably want these products next, the first one most."""
    keys = [
        Product.objects.get_or_create(external_id=one, defaults={"name": one.title()})[0].pk
        for one in numbers
    ]
    target = targets.make("next", kind="next_products", horizon_days=60)
    return ProductSuggestion.objects.create(
        customer=customer, target=target, version=world.version(3), as_of=world.AS_OF,
        products=[[key, 1.0] for key in keys],
    )  # fmt: skip


def test_products_in_a_text_are_those_that_the_customer_will_want(admin_client):
    text = offer_form(
        kind="products", text="Look: {products}", products_count=2, products_fallback="our new arrivals",
        **{"texts-TOTAL_FORMS": 2, "texts-0-language": "de", "texts-0-text": "Schau: {products}",
           "texts-0-products_fallback": "unsere Neuheiten", "texts-1-language": "fr", "texts-1-text": "Voici {products}"},
    )  # fmt: skip
    answer = admin_client.post(page("offer_add"), text)
    assert answer.status_code == 302, answer.context["errors"]
    made = Offer.objects.get()
    eva, other, refuses = (
        world.customer("K-7"),
        world.customer("K-8"),
        world.customer("K-9", is_profiled=False),
    )
    suggested(eva, "teddy", "kite", "ball")
    ProductSuggestion.objects.create(
        customer=refuses, target_id=Target.objects.get(slug="next").pk, version=ModelVersion.objects.get(number=3),
        as_of=world.AS_OF, products=ProductSuggestion.objects.get().products,
    )  # fmt: skip
    for customer, named in ((eva, True), (other, False), (refuses, False)):
        shown = html(admin_client.get(page("offer_text", made.pk), {"customer": customer.reference}))
        expected = (
            ("Look: Teddy, Kite<", "Schau: Teddy, Kite<", "Voici Teddy, Kite<", "Teddy (teddy)")
            if named
            else (
                "Look: our new arrivals",
                "Schau: unsere Neuheiten",
                "Voici our new arrivals",
                "No product can be",
            )
        )
        assert not [words for words in expected if words not in shown], (customer, shown)


def test_a_text_that_names_products_says_what_stands_there_without_any(admin_client):
    refused = html(admin_client.post(page("offer_add"), offer_form(text="Look: {products}")))
    assert "Say what stands there for customers without a suggestion" in refused
    assert not Offer.objects.exists()


def test_so_does_a_text_in_another_language_where_the_offer_does_not(admin_client):
    texts = {"texts-TOTAL_FORMS": 1, "texts-0-language": "de", "texts-0-text": "Schau: {products}"}
    refused = html(admin_client.post(page("offer_add"), offer_form(**texts)))
    assert "Say what stands there for customers without a suggestion" in refused
    said = {"texts-0-products_fallback": "unsere Neuheiten"}
    assert admin_client.post(page("offer_add"), offer_form(**texts, **said)).status_code == 302


def test_an_older_offer_without_words_for_that_leaves_the_braces_to_the_sender():
    made = world.offer()
    made.text = "Look: {products}"
    made.save()
    made.refresh_from_db()
    found = offer_texts.preview(made, world.customer("K-7"), Shop.get())
    assert (found.texts[""], found.products) == ("Look: {products}", ())


def test_what_cannot_be_filled_in_is_named(admin_client):
    AttributeDefinition.objects.create(slug="shoe_size", label="Shoe size", kind="number")
    answer = admin_client.post(page("offer_add"), offer_form(text="{attribute.shoe_size} {birthdya}"))
    assert "{birthdya} cannot be filled in" in html(answer)
    assert not Offer.objects.exists()


def test_a_limit_below_what_was_given_is_refused(admin_client):
    made = world.offer()
    Usage.objects.create(offer=made, given=7)
    given = offer_form(kind="percentage", percentage=10, limit_total=5, seen=0)
    answer = admin_client.post(page("offer_change", made.pk), given)
    assert "7 were given already" in html(answer)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"code\nA1\nA2\nA1\n", "2 codes are new"), (b"", "no codes"), (b"\xff\xfe\x00", "not text in UTF-8"),
     (b"x" * 65, "up to 64")],
)  # fmt: skip
def test_codes_come_from_a_file(admin_client, content, says):
    made = world.offer()
    assert says in html(loaded(admin_client, made, content))
    assert OfferCode.objects.count() == (2 if b"A1" in content else 0)


def test_codes_that_are_known_stay_as_they_are(admin_client):
    made = world.offer()
    OfferCode.objects.create(offer=made, code="A1", is_used=True)
    assert "1 codes are new, 1 were known" in html(loaded(admin_client, made, b"A1\nA2"))
    assert OfferCode.objects.filter(code="A1", is_used=True).count() == 1


def changes(made: Campaign, **fields):
    rule = made.rules.get()
    base = form((rule.segment, "", rule.offer), name=made.name, slug=made.slug, seen=made.edit_version)
    base |= {"rules-INITIAL_FORMS": 1, "rules-0-id": rule.pk, "rules-0-campaign": made.pk}
    return {**base, **fields}


def test_two_managers_at_once_the_second_is_told(admin_client):
    made = world.campaign(world.segment(), world.offer())
    stale = changes(made, priority=5)
    assert admin_client.post(page("campaign_change", made.pk), changes(made, priority=3)).status_code == 302
    answer = admin_client.post(page("campaign_change", made.pk), stale)
    assert "Somebody else saved this meanwhile" in html(answer)
    made.refresh_from_db()
    assert made.priority == 3


def test_of_two_who_edit_an_offer_at_once_the_second_is_told(admin_client):
    admin_client.post(page("offer_add"), offer_form())
    made = Offer.objects.get()
    stale = offer_form(name="Mine", seen=made.edit_version)
    address = page("offer_change", made.pk)
    assert admin_client.post(address, {**stale, "name": "Theirs"}).status_code == 302
    assert "Somebody else saved this meanwhile" in html(admin_client.post(address, stale))
    made.refresh_from_db()
    assert made.name == "Theirs"


def test_a_large_budget_needs_a_second_person(admin_client, admin_user, client):
    Shop.objects.update_or_create(pk=1, defaults={"approval_above_minor": 100_00})
    made = world.campaign(world.segment(), world.offer())
    admin_client.post(page("campaign_change", made.pk), changes(made, budget="500"))
    assert "second person" in html(admin_client.post(page("campaign_move", made.pk, "running"), follow=True))
    assert "edited this campaign last" in html(
        admin_client.post(page("campaign_approve", made.pk), follow=True)
    )
    client.force_login(world.person("Campaign manager"))
    client.post(page("campaign_approve", made.pk))
    admin_client.post(page("campaign_move", made.pk, "running"))
    made.refresh_from_db()
    assert (made.status, made.usage.most_minor) == ("running", 500_00)
    # Running, it may not be raised by one person alone.
    answer = admin_client.post(page("campaign_change", made.pk), changes(made, budget="900"))
    assert "approved again" in html(answer)
    # An edit while paused ends the approval.
    campaigns.move(made, "paused")
    made.refresh_from_db()
    admin_client.post(page("campaign_change", made.pk), changes(made, budget="900"))
    made.refresh_from_db()
    assert made.approved_at is None


def test_an_incomplete_campaign_says_what_is_missing(admin_client):
    made = world.campaign(
        world.segment(), world.offer(), trigger="event", choice="value", re_entry="event", exclusive_group="a"
    )
    said = html(admin_client.post(page("campaign_move", made.pk, "running"), follow=True))
    assert "Choose what the customer does" in said
    assert "say its uplift and margin" in said


@pytest.mark.parametrize("name", ["campaign", "segment", "servicepriorityrule"])
def test_a_backtest_is_asked_for_and_bad_days_are_named(admin_client, name):
    """Of a draft: the campaign has not started, segment and rule are switched off."""
    whom = world.segment()
    made = {
        "campaign": lambda: world.campaign(whom, world.offer()),
        "segment": lambda: whom,
        "servicepriorityrule": lambda: ServicePriorityRule.objects.create(
            position=1, name="VIP", level=4, segment=whom, is_active=False
        ),
    }[name]()
    shown = html(admin_client.get(page(f"{name}_change", made.pk)))
    assert f'action="{page(f"{name}_backtest", made.pk)}"' in shown
    assert "Not tried on past days yet" in html(admin_client.get(page(f"{name}_backtests", made.pk)))
    admin_client.post(page(f"{name}_backtest", made.pk), {"day": ["2024-01-01", "2024-02-01"]})
    row = PolicyBacktest.objects.get()
    assert row.days == ["2024-01-01", "2024-02-01"]
    assert admin_client.get(page(f"{name}_backtests", made.pk)).status_code == 202
    policy_backtests.work(row.pk)
    told = html(admin_client.get(page(f"{name}_backtests", made.pk)))
    assert ("is not the effect of an offer" in told) is (name == "campaign")
    assert ("Cost" in told) is (name == "campaign")
    for days, says in (
        (["soon"], "looks like 2024-03-01"),
        (["2999-01-01"], "in the future"),
        ([], "at least one"),
    ):
        answer = admin_client.post(page(f"{name}_backtest", made.pk), {"day": days}, follow=True)
        assert says in html(answer)


def test_a_suppressed_customer_is_decided_anew(admin_client):
    eva = world.customer("K-1")
    given = {"reference": "K-1", "channel": "", "reason": "asked", "until": ""}
    assert admin_client.post(page("suppression_add"), given).status_code == 302
    assert Suppression.objects.get().customer == eva
    assert DueCustomer.objects.filter(customer=eva).exists()
    assert "on the list already" in html(admin_client.post(page("suppression_add"), given))
    assert "no customer" in html(admin_client.post(page("suppression_add"), {**given, "reference": "?"}))


def test_the_audit_knows_who_approved(admin_client):
    made = world.campaign(world.segment(), world.offer())
    admin_client.post(page("campaign_approve", made.pk))
    assert AuditEntry.objects.filter(action="campaign.approved").count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("cost", "1e30"), ("value", "9" * 15), ("limit_money", "1e20"), ("valid_days", "4000000")],
)
def test_amounts_and_days_beyond_reason_are_refused_at_their_field(admin_client, field, value):
    answer = admin_client.post(page("offer_add"), offer_form(**{field: value}))
    assert answer.status_code == 200
    assert "less than or equal to" in str(answer.context["adminform"].form.errors[field])
    assert not Offer.objects.exists()


def test_a_campaigns_budget_margin_and_wait_have_bounds_too(admin_client):
    whom, gives = world.segment(), world.offer()
    for beyond in ({"budget": "1e30"}, {"rules-0-margin": "1e30"}, {"re_entry_days": "99999999"}):
        answer = admin_client.post(page("campaign_add"), form((whom, "", gives), **beyond))
        assert "less than or equal to" in html(answer)
    assert not Campaign.objects.exists()


def test_what_only_saving_finds_out_undoes_the_edit_and_is_said(admin_client, monkeypatch):
    def refused(*args, **kwargs):
        raise ValidationError("Used meanwhile.")

    made = world.campaign(world.segment(), world.offer())
    gives = world.offer()
    monkeypatch.setattr(campaigns, "edited", refused)
    monkeypatch.setattr(limits, "follow", refused)
    for address, given in (
        (page("campaign_change", made.pk), changes(made, name="Other")),
        (page("offer_change", gives.pk), offer_form(name="Other")),
    ):
        said = html(admin_client.post(address, given, follow=True))
        assert "Used meanwhile." in said
        assert "was changed successfully" not in said
    assert not Campaign.objects.filter(name="Other").exists()
    assert not Offer.objects.filter(name="Other").exists()


def test_nobody_approves_what_they_have_not_seen(admin_client, client):
    Shop.objects.update_or_create(pk=1, defaults={"approval_above_minor": 100_00})
    made = world.campaign(world.segment(), world.offer())
    client.force_login(world.person("Campaign manager"))
    assert 'name="seen" value="0"' in html(client.get(page("campaign_change", made.pk)))
    admin_client.post(page("campaign_change", made.pk), changes(made, budget="900"))
    answer = client.post(page("campaign_approve", made.pk), {"seen": "0"}, follow=True)
    assert "changed meanwhile" in html(answer)
    made.refresh_from_db()
    assert made.approved_at is None
    client.post(page("campaign_approve", made.pk), {"seen": made.edit_version})
    made.refresh_from_db()
    assert made.approved_at is not None
