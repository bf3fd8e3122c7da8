"""Errors of MongoDB as StoreErrors: the likely cause, a remedy, and the driver's message."""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pymongo.errors import (
    ConnectionFailure,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from mimic.corpus.stores.mongodb.url import Address
from mimic.errors import StoreError, StoreFull, StoreUnavailable, UnusableStore

OLDEST_SERVER: Final = 6
LONGEST_REASON: Final = 300

_UNREACHABLE: Final = "MongoDB cannot be reached, or did not answer in time"
_BAD_VALUE: Final = 2
_UNKNOWN_FIELD: Final = 40415
_OUT_OF_DISK_SPACE: Final = 14031


class Cause(NamedTuple):
    """The likely cause of an error, in a text without secrets for clients, and its remedy."""

    problem: str
    remedy: str


def translate(exc: PyMongoError, address: Address) -> StoreError:
    """An error of the driver as a StoreError."""
    reason = address.without_secrets(_reason(exc))
    if isinstance(exc, OperationFailure):
        if exc.code == _BAD_VALUE and "hint provided" in str(exc):
            return UnusableStore("an index of the corpus is missing: seed again, or restore collections with indexes")
        if exc.code == _OUT_OF_DISK_SPACE:
            return StoreFull(f"MongoDB has no space left ({reason})")
        cause = _of_command(exc, address)
    else:
        cause = _of_connection(exc, reason, address)
    problem = cause.problem
    if isinstance(exc, ConnectionFailure) and not isinstance(exc, NotPrimaryError) and problem != _UNREACHABLE:
        problem = f"{_UNREACHABLE}: {problem}"
    return StoreUnavailable(f"{_sentence(problem)}. {_sentence(cause.remedy)} ({reason})", public=cause.problem)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _reason(exc: PyMongoError) -> str:
    """The driver's message in one line, without the state of the topology and without the command's data."""
    if isinstance(exc, OperationFailure) and exc.details:
        text = str(exc.details.get("errmsg", exc))
        text = re.sub(r"(execute command \{ \w+).*", r"\1 ... }", text, flags=re.DOTALL)
    else:
        text = str(exc)
    text = re.split(r", Timeout: |\n|, full error: ", text, maxsplit=1)[0]
    text = re.sub(r" \(configured timeouts: [^)]*\)", "", text)
    text = ",".join(dict.fromkeys(text.split(",")))  # the members of a replica set repeat the same text
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."


def _of_command(exc: OperationFailure, address: Address) -> Cause:
    """The cause of a server's refusal of a command."""
    if exc.code in _REFUSALS:
        return _REFUSALS[exc.code](address)
    if exc.code == _UNKNOWN_FIELD:
        return Cause("MongoDB does not know the command", f"Mimic needs MongoDB {OLDEST_SERVER}.0 or later")
    return Cause("MongoDB failed", "see its log for details")


def _wrong_user(address: Address) -> Cause:
    """Codes 18 and 8000: the authentication database has no user with this name and password."""
    problem = "MongoDB refused the user and password"
    encoded = "special characters of a password are percent-encoded in a URL"
    if address.auth_source or address.is_srv or address.options.get("authmechanism"):
        source = f" of the database {address.auth_source!r}" if address.auth_source else ""
        return Cause(problem, f"check the user {address.user!r}{source} and the password in MIMIC_STORE ({encoded})")
    return Cause(
        problem,
        f"the URL has no authSource, so the user {address.user!r} was looked up in the database {address.database!r}. "
        f"If the user was created in `admin`, as a server's first user is, add ?authSource=admin to MIMIC_STORE; "
        f"otherwise check user and password ({encoded})",
    )


def _not_allowed(address: Address) -> Cause:
    """Code 13: the URL has no user, or the user lacks the rights."""
    if address.user is None:
        example = f"mongodb://user:password@host:port/{address.database}?authSource=admin"
        return Cause("MongoDB requires a user and password", f"name them in MIMIC_STORE, as in {example}")
    return Cause(
        "the user may not do this in MongoDB",
        f"give the user {address.user!r} the role `readWrite` on the database {address.database!r} to seed; `read` is "
        "enough to serve",
    )


_REFUSALS: Final[Mapping[int | None, Callable[[Address], Cause]]] = {
    13: _not_allowed,  # Unauthorized
    18: _wrong_user,  # AuthenticationFailed
    8000: _wrong_user,  # AtlasError
}


def _of_connection(exc: PyMongoError, reason: str, address: Address) -> Cause:
    """The cause of a failed connection. Of several members, the first one with a known reason decides."""
    if isinstance(exc, NotPrimaryError):
        return _not_primary(address)
    for pattern, cause in _PATTERNS:
        if re.search(pattern, reason, re.IGNORECASE):
            return cause(reason, address)
    if isinstance(exc, ServerSelectionTimeoutError) and "timed out" not in reason:
        return Cause(_UNREACHABLE, "check host, port and options in MIMIC_STORE")
    if isinstance(exc, ConnectionFailure):
        return Cause(_UNREACHABLE, "it may be overloaded, or a firewall may block the connection")
    return Cause("MongoDB failed", "see its log for details")


def _not_primary(address: Address) -> Cause:
    remedy = "name the members of the replica set, or its replicaSet, so that the primary is found"
    if address.options.get("directconnection"):
        remedy = "remove directConnection=true, which uses this member only, or name the primary"
    return Cause("this member of the replica set is not the primary", remedy)


def _unknown_host(reason: str, address: Address) -> Cause:
    """The cause of an unknown host name. Names that are not in the URL come from the replica set's configuration."""
    named = re.findall(r"([\w.-]+):\d+: \[Errno|\('([^']+)', \d+\)", reason)
    if foreign := [name for pair in named if (name := "".join(pair)).lower() not in address.hosts]:
        return Cause(
            "the members of the replica set have names that are not known here",
            f"make {', '.join(foreign)} known to this machine, as in /etc/hosts, or connect to one member only with "
            "?directConnection=true",
        )
    return Cause("the name of the host is not known", "check the host in MIMIC_STORE, and the name server")


def _closed(_: str, address: Address) -> Cause:
    if address.options.get("tls"):
        return Cause(
            "the TLS connection failed",
            "the server may not support TLS: then remove tls from MIMIC_STORE; or it requires a client certificate: "
            "then name it in tlsCertificateKeyFile",
        )
    return Cause(
        "the connection was closed at once",
        "the server may require TLS: then add ?tls=true (and tlsCAFile=...) to MIMIC_STORE; or it is not MongoDB, or "
        "was stopped",
    )


def _always(problem: str, remedy: str) -> Callable[[str, Address], Cause]:
    return lambda *_: Cause(problem, remedy)


_PATTERNS: Final[tuple[tuple[str, Callable[[str, Address], Cause]], ...]] = (
    (
        "dnspython",
        _always("a mongodb+srv:// URL cannot be looked up", "install dnspython, or name the hosts in a mongodb:// URL"),
    ),
    (
        "DNS (query|response|operation)|nameserver|resolution lifetime|SRV",
        _always(
            "the SRV record of the mongodb+srv:// URL was not found",
            "check the host in MIMIC_STORE, and the name server; for a host without an SRV record use mongodb://",
        ),
    ),
    (
        "wire version|minWireVersion",
        _always("the MongoDB server is too old, or too new", f"Mimic needs MongoDB {OLDEST_SERVER}.0 or later"),
    ),
    (
        "replica set named|replica set name",
        _always(
            "no usable member of the replica set that replicaSet names was found",
            "check the name in MIMIC_STORE, and that its members are up; for a single server remove replicaSet",
        ),
    ),
    ("internal hostnames", _unknown_host),
    (r"Name or service|nodename|name resolution|getaddrinfo|No address associated|unknown host", _unknown_host),
    (
        "CERTIFICATE_VERIFY_FAILED|certificate verify|hostname mismatch|doesn't match|not valid for",
        _always(
            "the server's TLS certificate is not trusted",
            "name its authority in ?tlsCAFile=/path/ca.pem, and use the host name of the certificate",
        ),
    ),
    ("certificate required|bad certificate|unknown ca", _closed),
    ("SSL|TLS", _closed),
    (
        "refused|Connect call failed",
        _always("nothing listens at that host and port", "start MongoDB, or check host and port in MIMIC_STORE"),
    ),
    (
        "Message length|unknown opcode|got response id",
        _always("the server at that host and port is not MongoDB", "check host and port in MIMIC_STORE"),
    ),
    ("connection closed|connection is already closed|reset by peer|Broken pipe|forcibly closed", _closed),
    (
        "No primary|no replica set members|not primary|No servers match",
        _always(
            "the replica set has no primary at the moment",
            "wait for an election, and check that more than half of its members are up",
        ),
    ),
    (
        "unreachable|no route",
        _always("the host cannot be reached over the network", "check the host in MIMIC_STORE, and the network"),
    ),
)
"""Patterns in messages of the driver and the system, the more specific ones first, and their causes."""
