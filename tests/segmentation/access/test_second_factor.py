"""Codes of an authenticator app after the password: right ones once, wrong ones never, and ways back in."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import time_machine
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.test import Client
from django.urls import reverse

from segmentation import roles
from segmentation.access import checks, second_factor
from segmentation.models import AuditEntry, RecoveryCode, SecondFactor
from tests.segmentation.access.conftest import PASSWORD

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 1, 10, tzinfo=UTC)
CODE, PAGE = "/admin/login/code/", "/admin/second-factor/"


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False) as travelled:
        yield travelled


def app_code(user, at=NOW):
    """What the app of this person shows: RFC 6238, written down once more beside the product."""
    key = base64.b32decode(SecondFactor.objects.get(user=user).secret)
    return TOTP(key, 6, SHA1(), 30).generate(int(at.timestamp())).decode()  # noqa: S303


@pytest.fixture
def armed(ada):
    """Ada with a second factor, and her recovery codes."""
    second_factor.begin(ada)
    earlier = NOW - timedelta(minutes=10)
    codes = second_factor.confirm(ada, app_code(ada, earlier), now=earlier)
    return User.objects.get(pk=ada.pk), codes


def is_in(client):
    return client.get("/admin/").status_code == 200


def test_the_known_vector_of_rfc_6238(ada):
    secret = base64.b32encode(b"12345678901234567890").decode()
    SecondFactor.objects.create(user=ada, secret=secret, confirmed_at=NOW)
    at = datetime.fromtimestamp(1111111111, tz=UTC)
    assert second_factor.verify(ada, "050471", now=at) == "app"


def test_it_is_set_up_in_the_console_and_asked_for_from_then_on(ada, knock, client):
    knock()
    assert client.get(PAGE).status_code == 200
    assert not SecondFactor.objects.exists()
    client.post(PAGE, {"what": "begin"})
    shown = client.get(PAGE).content.decode()
    secret = SecondFactor.objects.get(user=ada).secret
    assert "<svg" in shown
    assert secret[:4] in shown
    assert client.post(PAGE, {"code": "000000"}, follow=True).status_code == 200
    assert second_factor.of(User.objects.get(pk=ada.pk)) is None
    done = client.post(PAGE, {"code": app_code(ada)})
    codes = done.context["codes"]
    assert len(set(codes)) == 10
    assert all(code in done.content.decode() for code in codes)
    assert "no-store" in done["Cache-Control"]
    assert secret[:4] not in client.get(PAGE).content.decode()
    assert is_in(client)
    other = Client()
    assert knock(by=other)["Location"].startswith(CODE)
    assert not is_in(other)


def test_password_and_code_open_together(armed, knock, client):
    user, _codes = armed
    answer = knock()
    assert answer["Location"] == f"{CODE}?next=/admin/"
    assert not is_in(client)
    answer = client.post(f"{CODE}?next=/admin/segmentation/segment/", {"code": app_code(user)})
    assert answer["Location"] == "/admin/segmentation/segment/"
    assert is_in(client)


def test_a_next_page_elsewhere_is_not_followed(armed, knock, client):
    knock()
    answer = client.post(f"{CODE}?next=https://evil.example/", {"code": app_code(armed[0])})
    assert answer["Location"] == "/admin/"


def test_the_page_that_was_wanted_opens_with_all_it_was_asked(armed, knock, client):
    wanted = "/admin/segmentation/customer/?q=a&p=1"
    knock(by=client)
    answer = client.post(
        f"{reverse('admin:login')}?next={quote(wanted)}",
        {"username": armed[0].username, "password": PASSWORD},
    )
    answer = client.post(answer["Location"], {"code": app_code(armed[0])})
    assert answer["Location"] == wanted
    session = client.session
    del session["second_factor"]
    session.save()
    detour = client.get(wanted)["Location"]
    assert parse_qs(urlsplit(detour).query) == {"next": [wanted]}


def test_who_signs_in_where_somebody_else_was_is_asked_for_their_own_code(armed, knock, client):
    client.force_login(User.objects.create_superuser("boss", password=PASSWORD))
    knock()
    assert client.post(CODE, {"code": app_code(armed[0])}).status_code == 302
    assert client.session["_auth_user_id"] == str(armed[0].pk)


def test_a_password_that_is_changed_ends_the_step_between(armed, knock, client):
    user, _codes = armed
    knock()
    user.set_password("another long password")
    user.save()
    assert client.post(CODE, {"code": app_code(user)})["Location"] == reverse("admin:login")


def test_a_secret_that_another_session_has_seen_does_not_come_into_force(ada, knock, client):
    stranger = Client()
    knock(by=stranger)
    stranger.post(PAGE, {"what": "begin"})
    seen = SecondFactor.objects.get(user=ada).secret
    knock()
    assert seen[:4] not in client.get(PAGE).content.decode()
    client.post(PAGE, {"what": "begin"})
    mine = SecondFactor.objects.get(user=ada).secret
    assert mine != seen
    assert mine[:4] in client.get(PAGE).content.decode()
    assert mine[:4] not in stranger.get(PAGE).content.decode()


def test_devices_that_showed_the_password_alone_have_no_tries_of_their_own(ada, knock, client):
    clients = [client, *(Client() for _ in range(5))]
    for one in clients:
        knock(by=one)
        one.post(reverse("admin:logout"))
    second_factor.begin(ada)
    second_factor.confirm(ada, app_code(ada), now=NOW)
    for one in clients:
        knock(by=one)
    assert [one.post(CODE, {"code": "000000"}).status_code for one in clients] == [200] * 5 + [429]


def test_nobody_turns_their_own_off_with_an_open_session_alone(armed, knock, client):
    user, _codes = armed
    knock()
    client.post(CODE, {"code": app_code(user)})
    assert (
        "Turn off the second step"
        not in client.get(reverse("admin:auth_user_change", args=[user.pk])).content.decode()
    )
    assert client.post(reverse("admin:auth_user_drop_factor", args=[user.pk])).status_code == 403
    assert SecondFactor.objects.exists()


def test_a_person_that_no_address_can_name_is_not_found(ada, client):
    client.force_login(ada)
    for name in ("auth_user_password_change", "auth_user_change"):
        assert client.get(reverse(f"admin:{name}", args=["abc"])).status_code in {302, 404}


def test_a_code_opens_once(armed, knock, client):
    code = app_code(armed[0])
    knock()
    assert client.post(CODE, {"code": code}).status_code == 302
    other = Client()
    knock(by=other)
    refused = other.post(CODE, {"code": code})
    assert "was used before" in refused.content.decode()
    assert not is_in(other)


def test_of_two_codes_the_older_opens_nothing_after_the_newer(armed):
    user, _codes = armed
    older = app_code(user, NOW - timedelta(seconds=30))
    assert second_factor.verify(user, app_code(user), now=NOW) == "app"
    assert second_factor.verify(user, older, now=NOW) == ""


@pytest.mark.parametrize(("steps", "opens"), [(-2, ""), (-1, "app"), (0, "app"), (1, "app"), (2, "")])
def test_a_clock_may_be_one_step_off_and_no_more(armed, steps, opens):
    user, _codes = armed
    code = app_code(user, NOW + timedelta(seconds=30 * steps))
    assert second_factor.verify(user, code, now=NOW) == opens


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "abcdef", "１２３４５６", "000 00", "٠١٢٣٤٥", "\0" * 6, "9" * 40]
)
def test_what_is_no_code_is_refused_without_a_failure(armed, knock, client, code):
    knock()
    assert client.post(CODE, {"code": code}).status_code == 200
    assert not is_in(client)


def test_a_recovery_code_opens_once_however_it_is_typed(armed, knock, client):
    user, codes = armed
    knock()
    answer = client.post(CODE, {"code": f"  {codes[0].upper().replace('-', ' ')} "}, follow=True)
    assert "9 are left" in answer.content.decode()
    assert is_in(client)
    other = Client()
    knock(by=other)
    other.post(CODE, {"code": codes[0]})
    assert not is_in(other)
    assert AuditEntry.objects.get(action="second_factor.recovery_used").detail == {"left": 9}


def test_wrong_codes_are_throttled_by_themselves(armed, knock, client):
    user, _codes = armed
    knock()
    assert [client.post(CODE, {"code": "000000"}).status_code for _ in range(6)] == [200] * 5 + [429]
    waiting = client.post(CODE, {"code": app_code(user)})
    assert waiting.status_code == 429
    assert int(waiting["Retry-After"]) > 0
    assert not is_in(client)
    call_command("unlock_sign_in", user.username)
    assert client.post(CODE, {"code": app_code(user)}).status_code == 302


def test_without_a_password_there_is_no_second_step(armed, client):
    assert client.get(CODE)["Location"] == reverse("admin:login")
    assert client.post(CODE, {"code": app_code(armed[0])})["Location"] == reverse("admin:login")


def test_the_step_between_lasts_ten_minutes(armed, knock, client, clock):
    knock()
    clock.shift(timedelta(minutes=11))
    later = NOW + timedelta(minutes=11)
    assert client.post(CODE, {"code": app_code(armed[0], later)})["Location"] == reverse("admin:login")


def test_who_was_switched_off_meanwhile_stays_outside(armed, knock, client):
    user, _codes = armed
    knock()
    User.objects.filter(pk=user.pk).update(is_active=False)
    client.post(CODE, {"code": app_code(user)})
    assert not is_in(client)


def test_a_session_from_before_it_was_set_up_is_asked_too(ada, client):
    client.force_login(ada)
    assert is_in(client)
    second_factor.begin(ada)
    second_factor.confirm(ada, app_code(ada), now=NOW)
    assert client.get("/admin/segmentation/customer/")["Location"].startswith(CODE)
    assert client.post("/admin/segmentation/scoringrun/start/").status_code == 403


def test_the_gate_costs_no_query(ada, client, django_assert_num_queries):
    client.force_login(ada)
    client.get(reverse("admin:jsi18n"))
    with django_assert_num_queries(3):  # the session, the person with their factor, the shop's clock
        client.get(reverse("admin:jsi18n"))


def test_roles_may_be_required_to_have_one(ada, client, settings):
    roles.install()
    settings.SECOND_FACTOR_REQUIRED = ["data protection"]
    bound = User.objects.create_user("dpo", password=PASSWORD, is_staff=True)
    bound.groups.add(Group.objects.get(name="Data protection"))
    client.force_login(ada)
    assert is_in(client)
    client.force_login(bound)
    assert client.get("/admin/")["Location"].startswith(PAGE)
    client.post(PAGE, {"what": "begin"})
    client.post(PAGE, {"code": app_code(bound)})
    assert is_in(client)
    refused = client.post(PAGE, {"what": "drop", "code": app_code(bound, NOW + timedelta(seconds=30))})
    assert refused.status_code == 200
    assert second_factor.of(User.objects.get(pk=bound.pk)) is not None


@pytest.mark.parametrize("name", ["Data protection", "data protection", "Everyone", "superusers"])
def test_a_known_name_passes_the_check(settings, name):
    settings.SECOND_FACTOR_REQUIRED = [name]
    assert checks.second_factor_names(None) == []


def test_a_name_of_no_role_is_an_error_that_says_which_there_are(settings):
    """It would require nothing of anybody, and nobody would notice."""
    settings.SECOND_FACTOR_REQUIRED = ["Analist", "Analyst"]
    with pytest.raises(SystemCheckError, match="Analist.*\n.*Campaign manager") as told:
        call_command("check")
    assert "“Analyst”" not in str(told.value)


@pytest.mark.parametrize("who", ["everyone", "superusers", "Superusers"])
def test_everyone_or_superusers_may_be_required(ada, client, settings, who):
    settings.SECOND_FACTOR_REQUIRED = [who]
    client.force_login(ada)
    assert client.get("/admin/")["Location"].startswith(PAGE)


def test_changes_of_it_need_a_code(armed, knock, client, clock):
    user, codes = armed
    knock()
    client.post(CODE, {"code": app_code(user)})
    client.post(PAGE, {"what": "drop", "code": "000000"})
    assert SecondFactor.objects.exists()
    renewed = client.post(PAGE, {"what": "codes", "code": codes[0]}).context["codes"]
    assert not set(renewed) & set(codes)
    assert second_factor.verify(user, codes[1], now=NOW) == ""
    client.post(PAGE, {"what": "drop", "code": renewed[0]})
    assert not SecondFactor.objects.exists()
    assert is_in(client)


def test_an_administrator_takes_it_from_whose_telephone_is_lost(armed, client):
    user, _codes = armed
    boss = User.objects.create_superuser("boss", password=PASSWORD)
    client.force_login(boss)
    assert (
        "Turn off the second step"
        in client.get(reverse("admin:auth_user_change", args=[user.pk])).content.decode()
    )
    client.post(reverse("admin:auth_user_drop_factor", args=[user.pk]))
    assert not SecondFactor.objects.exists()
    assert AuditEntry.objects.get(action="second_factor.dropped").actor == boss


def test_an_operator_takes_it_on_the_server(armed, capsys):
    call_command("unlock_sign_in", armed[0].username, drop_second_factor=True)
    assert not SecondFactor.objects.exists()


def test_secrets_are_encrypted_and_follow_the_keys(armed, settings, capsys):
    from cryptography.fernet import Fernet

    user, codes = armed
    secret = SecondFactor.objects.get().secret

    def raw():
        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM segmentation_secondfactor")
            return cursor.fetchone()[0]

    assert secret not in raw()
    assert not any(code.replace("-", "") in str(list(RecoveryCode.objects.values())) for code in codes)
    old = settings.FIELD_ENCRYPTION_KEYS
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *old]
    before = raw()
    call_command("rotate_keys")
    settings.FIELD_ENCRYPTION_KEYS = settings.FIELD_ENCRYPTION_KEYS[:1]
    assert raw() != before
    assert SecondFactor.objects.get().secret == secret


def test_somebody_who_is_no_superuser_takes_over_none(armed, client):
    from segmentation import roles

    user, _codes = armed
    roles.install()
    helper = User.objects.create_user("helper", is_staff=True)
    helper.groups.add(Group.objects.get(name="Administrator"))
    client.force_login(helper)
    client.post(reverse("admin:auth_user_drop_factor", args=[user.pk]))
    assert SecondFactor.objects.exists()
    assert client.post(reverse("admin:auth_user_password_change", args=[user.pk]), {}).status_code == 403
    mine = reverse("admin:auth_user_change", args=[helper.pk])
    page = client.get(mine).content.decode()
    assert 'name="is_superuser"' not in page
    client.post(mine, {"username": "helper", "is_active": "on", "is_staff": "on", "is_superuser": "on"})
    assert not User.objects.get(pk=helper.pk).is_superuser
