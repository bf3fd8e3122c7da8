"""What goes wrong with a MongoDB, as errors of ours: the likely cause, what to do, and the driver's own reason."""

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
    """What is likely the matter, in words that may be told outside, and what to do about it."""

    what: str
    remedy: str


def translated(exc: PyMongoError, address: Address) -> StoreError:
    """An error of the driver's as one of ours."""
    reason = address.without_secrets(_reason(exc))
    if isinstance(exc, OperationFailure):
        if exc.code == _BAD_VALUE and "hint provided" in str(exc):
            return UnusableStore("an index of the corpus is missing: seed anew, or restore the collections with theirs")
        if exc.code == _OUT_OF_DISK_SPACE:
            return StoreFull(f"MongoDB has no space left ({reason})")
        cause = _of_command(exc, address)
    else:
        cause = _of_connection(exc, reason, address)
    what = cause.what
    if isinstance(exc, ConnectionFailure) and not isinstance(exc, NotPrimaryError) and what != _UNREACHABLE:
        what = f"{_UNREACHABLE}: {what}"
    return StoreUnavailable(f"{_sentence(what)}. {_sentence(cause.remedy)} ({reason})", public=cause.what)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _reason(exc: PyMongoError) -> str:
    """The driver's own words, in one line: without the state of the topology, and without what was asked or written."""
    if isinstance(exc, OperationFailure) and exc.details:
        text = str(exc.details.get("errmsg", exc))
        text = re.sub(r"(execute command \{ \w+).*", r"\1 ... }", text, flags=re.DOTALL)
    else:
        text = str(exc)
    text = re.split(r", Timeout: |\n|, full error: ", text, maxsplit=1)[0]
    text = re.sub(r" \(configured timeouts: [^)]*\)", "", text)
    text = ",".join(dict.fromkeys(text.split(",")))  # each member of a replica set says the same
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."


def _of_command(exc: OperationFailure, address: Address) -> Cause:
    """Why a server refused a command."""
    if exc.code in _REFUSALS:
        return _REFUSALS[exc.code](address)
    if exc.code == _UNKNOWN_FIELD:
        return Cause("MongoDB does not know what it was asked for", f"Mimic needs MongoDB {OLDEST_SERVER}.0 or later")
    return Cause("MongoDB failed", "its log may say more")


def _wrong_user(address: Address) -> Cause:
    """Codes 18 and 8000: nobody of that name and password in the database where users are looked up."""
    what = "MongoDB refused the user and password"
    encoded = "special characters of a password are percent-encoded in a URL"
    if address.auth_source or address.is_srv or address.options.get("authmechanism"):
        source = f" of the database {address.auth_source!r}" if address.auth_source else ""
        return Cause(what, f"check the user {address.user!r}{source} and the password in MIMIC_STORE ({encoded})")
    return Cause(
        what,
        f"the URL has no authSource, so the user {address.user!r} was looked up in the database {address.database!r}. "
        f"If the user was created in `admin`, as the first one of a server is, add ?authSource=admin to MIMIC_STORE; "
        f"otherwise check user and password ({encoded})",
    )


def _not_allowed(address: Address) -> Cause:
    """Code 13: no user at all, or one without the rights."""
    if address.user is None:
        example = f"mongodb://user:password@host:port/{address.database}?authSource=admin"
        return Cause("MongoDB wants a user and password", f"name them in MIMIC_STORE, as in {example}")
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
    """Why no server could be asked. Of several members the first one decides whose reason is known."""
    if isinstance(exc, NotPrimaryError):
        return _not_primary(address)
    for pattern, cause in _PATTERNS:
        if re.search(pattern, reason, re.IGNORECASE):
            return cause(reason, address)
    if isinstance(exc, ServerSelectionTimeoutError) and "timed out" not in reason:
        return Cause(_UNREACHABLE, "check host, port and options in MIMIC_STORE")
    if isinstance(exc, ConnectionFailure):
        return Cause(_UNREACHABLE, "it may be overloaded, or a firewall is between")
    return Cause("MongoDB failed", "its log may say more")


def _not_primary(address: Address) -> Cause:
    remedy = "name the members of the replica set, or its replicaSet, so that the primary is found"
    if address.options.get("directconnection"):
        remedy = "with directConnection=true only this one is asked: leave that out, or name the primary"
    return Cause("this member of the replica set is not the primary", remedy)


def _unknown_host(reason: str, address: Address) -> Cause:
    """A name that is not in the URL comes from the configuration of the replica set."""
    told = re.findall(r"([\w.-]+):\d+: \[Errno|\('([^']+)', \d+\)", reason)
    if foreign := [name for pair in told if (name := "".join(pair)).lower() not in address.hosts]:
        return Cause(
            "the members of the replica set have names that are not known here",
            f"make {', '.join(foreign)} known to this machine, as in /etc/hosts, or ask one member alone with "
            "?directConnection=true",
        )
    return Cause("the name of the host is not known", "check the host in MIMIC_STORE, and the name server")


def _closed(_: str, address: Address) -> Cause:
    if address.options.get("tls"):
        return Cause(
            "the TLS connection failed",
            "the server may not speak TLS: then leave tls out of MIMIC_STORE; or it wants a certificate of yours: then "
            "name it in tlsCertificateKeyFile",
        )
    return Cause(
        "the connection was closed at once",
        "the server may want TLS: then add ?tls=true (and tlsCAFile=...) to MIMIC_STORE; or it is no MongoDB, or was "
        "stopped",
    )


def _always(what: str, remedy: str) -> Callable[[str, Address], Cause]:
    return lambda *_: Cause(what, remedy)


_PATTERNS: Final[tuple[tuple[str, Callable[[str, Address], Cause]], ...]] = (
    (
        "dnspython",
        _always("a mongodb+srv:// URL cannot be looked up", "install dnspython, or name the hosts in a mongodb:// URL"),
    ),
    (
        "DNS (query|response|operation)|nameserver|resolution lifetime|SRV",
        _always(
            "the SRV record of the mongodb+srv:// URL was not found",
            "check the host in MIMIC_STORE, and the name server; a host without such a record goes into mongodb://",
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
            "check the name in MIMIC_STORE, and that its members are up; a server that is in none has no replicaSet",
        ),
    ),
    ("internal hostnames", _unknown_host),
    (r"Name or service|nodename|name resolution|getaddrinfo|No address associated|unknown host", _unknown_host),
    (
        "CERTIFICATE_VERIFY_FAILED|certificate verify|hostname mismatch|doesn't match|not valid for",
        _always(
            "the server's TLS certificate is not trusted",
            "name its authority in ?tlsCAFile=/path/ca.pem, and the server as the certificate does",
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
        _always("it is not MongoDB that listens there", "check host and port in MIMIC_STORE"),
    ),
    ("connection closed|connection is already closed|reset by peer|Broken pipe|forcibly closed", _closed),
    (
        "No primary|no replica set members|not primary|No servers match",
        _always(
            "the replica set has no primary at the moment",
            "wait for an election, and see that more than half of its members are up",
        ),
    ),
    (
        "unreachable|no route",
        _always("the host cannot be reached over the network", "check the host in MIMIC_STORE, and the network"),
    ),
)
"""Words of the driver's and of the system's, the more special ones first, and what they mean."""
