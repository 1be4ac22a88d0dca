"""When credentials end in mid-run: what a refusal means, and when somebody has renewed them; without a service."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hypersdk import errors, events
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.vendors.oci.credentials import OciSettings
from hypersdk.vendors.oci.login import Login
from hypersdk.vendors.oci.session import Standing
from hypersdk.waiting import Waiter


@dataclass
class Session:
    """A session whose token is a file; "bad" in it cannot be used."""

    token: Path
    accepted: bool = True
    skew: str | None = None
    watched: bool = True
    object_storage_url: str = "https://objectstorage.test:8443"
    refreshed: int = 0
    forgotten: int = 0
    kind: str = "security_token"
    standing: Standing = field(default_factory=Standing)
    settings: OciSettings = field(default_factory=lambda: OciSettings(profile="PROD"))
    now: datetime = datetime(2026, 11, 25, 14, 0, 0, tzinfo=UTC)
    expires: datetime | None = None
    lock: Any = field(default_factory=threading.Lock)

    @property
    def files(self) -> tuple[str, ...]:
        return (str(self.token), str(self.token.with_name("absent"))) if self.watched else ()

    def ends_within(self, seconds: float) -> bool:
        assert self.expires is not None
        return (self.expires - self.now).total_seconds() <= seconds

    def ask_for_login(self) -> str:
        return "log in"

    def forget_signatures(self) -> None:
        self.forgotten += 1

    def refresh(self) -> bool:
        if self.token.read_text() == "bad":
            raise errors.CredentialsEnded("bad")
        with self.lock:
            self.refreshed += 1
        return True


@pytest.fixture
def session(tmp_path: Path) -> Session:
    (tmp_path / "token").write_text("good")
    return Session(tmp_path / "token")


def refusal(resource: str = "oci://ns/b/o") -> errors.NotAuthenticated:
    return errors.NotAuthenticated("refused", resource=resource, request_id="A/B", status=401)


def login_of(session: Session) -> Login:
    return Login(session)  # type: ignore[arg-type]  # what it needs of a session is here


def test_a_refusal_after_work_is_told_as_ended_credentials(session: Session) -> None:
    """What was accepted before has ended: with what to do, the resource and the request's id."""
    told = login_of(session).explain(refusal())
    assert isinstance(told, errors.CredentialsEnded)
    assert (told.hint, told.resource, told.request_id) == ("log in; the same command resumes", "oci://ns/b/o", "A/B")


def test_a_refusal_at_the_start_stays_what_it_is(session: Session) -> None:
    """Nothing was accepted yet: it may be any mistake, and nobody is waited for."""
    session.accepted = False
    error = refusal()
    assert login_of(session).explain(error) is error


def test_a_refusal_by_somebody_else_is_not_about_our_credentials(session: Session) -> None:
    """A web address that answers 401 has its own sentence; nor is a 403 about who signs."""
    session.skew = "an hour apart"
    for error in (refusal("https://example.test/file"), errors.PermissionDenied("403")):
        assert login_of(session).explain(error) is error


def test_clocks_come_first(session: Session) -> None:
    """Skew explains a 401 before anything else, also at the start; signatures with the wrong date are dropped."""
    session.skew, session.accepted = "an hour apart", False
    told = login_of(session).explain(refusal())
    assert isinstance(told, errors.ClockSkewed)
    assert told.hint == "an hour apart"
    assert session.forgotten == 1


def test_only_its_own_origin_vouches_for_a_session(session: Session) -> None:
    """A good answer of another server is no proof that the service accepts the credentials."""
    session.accepted = False
    login = login_of(session)
    login.heard("https://example.test:443")
    assert not login.worked
    login.heard("https://objectstorage.test:8443")
    assert login.worked


def test_a_changed_file_counts_when_it_holds_something_to_sign_with(session: Session) -> None:
    """Untouched: not even read. Half-written: seen, not found. Whole: found, once."""
    login = login_of(session)
    login.look()
    assert (login.found, session.refreshed) == (0, 0)
    session.token.write_text("bad")
    login.look()
    assert login.found == 0
    session.token.write_text("good again")
    login.look()
    login.look()
    assert (login.found, session.refreshed) == (1, 1)


def test_without_files_nobody_is_asked(session: Session) -> None:
    """An instance principal has no file that somebody could renew: no reason to wait."""
    session.watched = False
    assert login_of(session).ask() is None


def test_a_session_that_is_about_to_end_is_reminded_of_once(session: Session) -> None:
    """In its last ten minutes one line says how to refresh it; a refreshed one is not spoken of until its own end."""
    told: list[events.Event] = []
    login = Login(session, told.append)  # type: ignore[arg-type]  # what it needs of a session is here
    session.expires = session.now + timedelta(minutes=11)
    login.remind()
    assert told == []
    session.now += timedelta(minutes=2)
    login.remind()
    Login(session, told.append).remind()  # type: ignore[arg-type]  # in another thread of a fleet
    command = "`oci session refresh --profile PROD`"
    assert told == [
        events.Note(f"the session ends at 2026-11-25 14:11:00 UTC: {command} before that, and nothing has to wait")
    ]
    session.token.write_text("refreshed")
    session.expires = session.now + timedelta(minutes=30)
    login.remind()
    session.kind, session.expires = "instance_principal", session.now
    login.remind()
    assert len(told) == 1


def test_every_thread_goes_on_when_one_finds_the_new_token(session: Session) -> None:
    """Four threads wait for one login: the file is read once, and all of them go on at once."""
    login, failed, done = login_of(session), threading.Barrier(5), []

    def work() -> None:
        tries = iter([True, False])

        def call() -> str:
            if next(tries):
                failed.wait(10)
                raise refusal()
            return "done"

        retrier = Retrier(RetryPolicy(max_attempts=1), Waiter(), NetworkMonitor(None), login=login)
        done.append(retrier.call("list", call))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    failed.wait(10)
    session.token.write_text("good again")
    for thread in threads:
        thread.join(10)
    assert done == ["done"] * 4
    assert 1 <= session.refreshed <= 2, "the file may be seen before it is whole"
