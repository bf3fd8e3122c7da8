"""The URL of a MongoDB database: its parts, its errors, and its secrets."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from mimic.errors import SettingError

_SRV: Final = "mongodb+srv"
_EXAMPLE: Final = "mongodb://user:password@host:port/database"
_WRONG: Final = (PyMongoError, OSError, ValueError)
_ENCODING: Final = "@ is %40, : is %3A, / is %2F, ? is %3F, # is %23, % is %25"
_LONGEST_NAME: Final = 63
_SECRET_OPTIONS: Final = ("tlscertificatekeyfilepassword", "proxypassword")


class Address(NamedTuple):
    """The parts of a URL. ``auth_source`` is None if the URL has none. Names of ``options`` are in lower case."""

    hosts: frozenset[str]
    is_srv: bool
    user: str | None
    database: str
    auth_source: str | None
    options: Mapping[str, Any]
    secrets: frozenset[str]

    def without_secrets(self, text: str) -> str:
        """A text of the driver or the server, without the passwords of the URL."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def read_address(url: str) -> Address:
    """Parse a URL, without network access. Raises SettingError, without any part of a password, if it is not valid."""
    try:
        parsed = _parsed(url)
    except _WRONG as exc:
        raise SettingError("MIMIC_STORE", f"not the URL of a MongoDB database: {_diagnosis(url, exc)}") from exc
    options = {name.lower(): value for name, value in parsed["options"].items()}
    secrets = {parsed["password"], *(options.get(name) for name in _SECRET_OPTIONS)} - {None, ""}
    return Address(
        frozenset(host.lower() for host, _ in parsed["nodelist"]),
        url.startswith(f"{_SRV}:"),
        parsed["username"],
        parsed["database"],
        options.get("authsource"),
        options,
        frozenset({form for secret in secrets for form in (secret, quote_plus(secret))}),
    )


def _parsed(url: str) -> dict[str, Any]:
    """The driver's result, after further checks. Raises errors of the driver, and ValueError."""
    scheme, _, rest = url.partition("://")
    # Parsing a mongodb+srv URL would look up its host.
    parsed: dict[str, Any] = parse_uri(f"mongodb://{rest}")
    authority = re.split(r"[/?]", _without_user(rest), maxsplit=1)[0]
    if scheme == _SRV and re.search(r"[,:]", authority):
        raise ValueError("mongodb+srv:// takes one host name, without a port")
    database = parsed["database"]
    if not database:
        raise ValueError(f"it names no database; expected {_EXAMPLE}")
    if parsed["collection"]:
        raise ValueError("the name of its database has a dot, which MongoDB does not allow")
    if len(database.encode()) > _LONGEST_NAME or re.search(r'[*<>|?"\\/ $\0]', database):
        raise ValueError(
            f"the name of its database is longer than {_LONGEST_NAME} bytes, or has a character that MongoDB does not "
            'allow on every system: a space, or one of /\\."$*<>:|?'
        )
    return parsed


def _diagnosis(url: str, exc: Exception) -> str:
    """The problem of a URL. Contains the driver's message only if it cannot contain a password."""
    scheme, _, rest = url.partition("://")
    bare = _without_user(rest)
    if bare == rest:
        return str(exc)
    try:
        _parsed(f"{scheme}://{bare}")
    except _WRONG as without_user:
        return str(without_user)
    return f"its user and password must be percent-encoded ({_ENCODING}), and the user must not be empty"


def _without_user(rest: str) -> str:
    """A URL without its scheme and its user. All text up to the last @ may belong to a password."""
    return rest.rpartition("@")[2]
