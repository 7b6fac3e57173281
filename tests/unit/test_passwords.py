"""No password is recorded or said, however it was typed; what is looked up anew each time stays."""

from __future__ import annotations

import pytest

from harness import passwords

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("postgresql+psycopg://me:s3cr3t@host:5432/db", "postgresql+psycopg://me@host:5432/db"),
        ("postgresql://:s3cr3t@host/db", "postgresql://@host/db"),
        ("postgresql://me:a@s3cr3t@host/db", "postgresql://me@host/db"),
        ("postgresql://me:a/s3cr3t?b#c:d@host/db", "postgresql://me@host/db"),
        ("postgresql://me:a s3cr3t@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?user=me&password=s3cr3t&sslmode=require", "postgresql://host/db?user=me&password=&sslmode=require"),
        ("postgresql://me:${oc.env:DB_PASSWORD}@host/db", "postgresql://me:${oc.env:DB_PASSWORD}@host/db"),
        ("postgresql://me:${oc.env:DB_PASSWORD,s3cr3t}@host/db", "postgresql://me@host/db"),
        ("postgresql://${oc.env:ME}:s3cr3t@host/db", "postgresql://${oc.env:ME}@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
    ],
)
def test_an_address_is_recorded_without_its_password(url: str, recorded: str) -> None:
    assert passwords.address(url) == recorded


def test_a_command_is_recorded_without_passwords_and_else_as_typed() -> None:
    typed = ("-m", "hydra.sweeper.storage='postgresql://me:a s3cr3t@host/db'", "++hydra.sweeper={storage:'x://me:s3cr3t@host'}")
    kept = ("objective.metric=val-core/*/acc/mean@1", "study.note='see http://host:80 or mail a@b'", "lr=1e-5")
    recorded = passwords.arguments([*typed, *kept])
    assert SECRET not in " ".join(recorded)
    assert recorded[0] == "-m"
    assert recorded[3:] == kept


def test_a_message_loses_the_passwords_of_its_addresses_only() -> None:
    said = passwords.without_passwords("cannot open postgresql://me:s3cr3t@host/db: at 12:30 no answer; ask admin@host")
    assert said == "cannot open postgresql://me@host/db: at 12:30 no answer; ask admin@host"
