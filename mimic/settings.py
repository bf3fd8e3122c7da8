"""The settings, parsed once from an environment that the caller passes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from mimic import setting_values as values
from mimic.corpus.ladder import DEPTHS, MIN_SCORE, Depth
from mimic.corpus.schemas import VERSIONS, Version
from mimic.corpus.similar.model_folder import model_folder
from mimic.corpus.stores import Driver
from mimic.engine.moderation import WORDS
from mimic.engine.overrides import TOOL_MODES, TOOL_SCORE, ToolMode, ToolOptions
from mimic.errors import SettingError
from mimic.gateway.faults import Chance, FaultOptions, parse_chances
from mimic.gateway.journal import MOST_ENTRIES
from mimic.gateway.pacing import PACES, Delay, PaceOptions, parse_delay
from mimic.gateway.rate_limits import LimitOptions
from mimic.host_names import parse_host_names
from mimic.recordings.options import (
    NO_RULES,
    OF_REQUEST,
    RECORDED,
    UPSTREAM,
    IgnoreRules,
    Order,
    Record,
    RelayOptions,
    UpstreamOptions,
    parse_url,
)
from mimic.recordings.redaction import Redactor, hook_of
from mimic.records import OFF
from mimic.records.base import RecordOptions
from mimic.server.listening import is_loopback
from mimic.server.options import Defaults, SeedingOptions
from mimic.spelling import closest
from mimic.stored.options import BatchOptions, FileOptions
from mimic.stored.webhook_targets import WebhookOptions
from mimic.wire.openai.webhook_secrets import parse_secret

if TYPE_CHECKING:
    from mimic.corpus.similar.embedding_model import EmbeddingModel

SECONDS_A_DAY: Final = 86_400


class Settings(msgspec.Struct, frozen=True):
    """All settings, with their defaults. ``.env.example`` explains each of them."""

    store: str = "sqlite:///mimic.db"
    version: Version = "v3"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    mongo_driver: Driver = "pymongo"
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    strict_models: bool = False
    strict: bool = False
    match: Depth | Literal["recorded"] | None = None
    min_score: float = MIN_SCORE
    prompt_templates: tuple[str, ...] = ()
    embedding_model: Path | None = None
    on_miss: str = "any"
    assistants: Mapping[str, Any] = msgspec.field(default_factory=dict)
    tools: ToolMode = "auto"
    tool_score: float = TOOL_SCORE
    moderation_words: Mapping[str, Sequence[str]] = msgspec.field(default_factory=lambda: WORDS)
    reasoning: int = 0
    pace: str = "instant"
    ttft_ms: Delay | None = None
    itl_ms: Delay | None = None
    load_factor: float = 0.0
    most_in_flight: int = 0
    faults: tuple[Chance, ...] = ()
    fault_seed: int | None = None
    rpm: int = 0
    tpm: int = 0
    journal: int = 0
    access_log: bool = False
    traces: bool = False
    client_timeout: int = 60
    upstream: str = ""
    upstream_key: str = ""
    upstream_tokens_per_day: int = 0
    recordings: str = ""
    record: Record = "off"
    record_errors: bool = False
    recordings_ignore: IgnoreRules = NO_RULES
    recordings_order: Order = "newest"
    recordings_redact: str = ""
    records: str = ""
    records_most: int = 100_000
    records_bytes: int = 1_000_000_000
    records_days: int = 30
    files_bytes: int = 5_000_000_000
    batch_window: int = SECONDS_A_DAY
    webhooks: tuple[str, ...] = ()
    webhook_secret: str = ""
    webhook_hosts: tuple[str, ...] = ()
    webhook_seconds: int = 600
    seed_secret: str = ""
    seed_file: Path = Path("seed/conversations.json")
    seed_join_splits: bool = False
    seed_count_tokens: bool = False
    seed_batch_size: int = 1000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings from variables. An unset or empty variable gives the default.

        Raises SettingError, which names the variable, if a value does not parse.
        """
        parsed: dict[str, Any] = {}
        for field, (name, parse) in VARIABLES.items():
            if text := environment.get(name, "").strip():
                try:
                    parsed[field] = parse(text)
                except ValueError as exc:
                    raise SettingError(name, str(exc)) from None
        settings = cls(**parsed)
        settings._check()
        return settings

    def _check(self) -> None:
        """Check settings against each other. Raises SettingError."""
        if self.webhooks and not self.webhook_secret:
            raise SettingError("MIMIC_WEBHOOKS", "needs MIMIC_WEBHOOK_SECRET, which signs the events")
        if self.webhooks and self.records == OFF:
            raise SettingError("MIMIC_WEBHOOKS", "needs records, which MIMIC_RECORDS=off switches off")
        self._check_upstream()

    def _check_upstream(self) -> None:
        """Raises SettingError for settings of recordings that exclude each other."""
        asks = self.on_miss.partition(",")[0] == UPSTREAM
        if not self.upstream:
            for field, is_set in (("record", self.record != "off"), ("upstream_key", self.upstream_key)):
                if is_set:
                    raise SettingError(VARIABLES[field][0], "needs MIMIC_UPSTREAM, the URL of the real service")
            if asks:
                raise SettingError("MIMIC_ON_MISS", "upstream needs MIMIC_UPSTREAM, the URL of the real service")
        elif not asks and self.record != "all":
            raise SettingError("MIMIC_UPSTREAM", "is never asked without MIMIC_ON_MISS=upstream or MIMIC_RECORD=all")
        if self.records == OFF and (self.upstream_tokens_per_day or (self.uses_recordings and not self.recordings)):
            raise SettingError("MIMIC_RECORDS", "recordings and the budget of the upstream need records, which are off")
        self._check_key()

    def _check_key(self) -> None:
        """Raises SettingError if clients could spend a key that is not theirs, or lose theirs to the upstream."""
        if self.upstream_key == OF_REQUEST and self.api_keys:
            problem = "request passes the keys of clients on, and MIMIC_API_KEYS are not for the upstream"
            raise SettingError("MIMIC_UPSTREAM_KEY", problem)
        if self.upstream_key not in {"", OF_REQUEST} and not self.api_keys and not is_loopback(self.host):
            problem = f"all who reach {self.host} could spend this key: set MIMIC_API_KEYS, or MIMIC_HOST=127.0.0.1"
            raise SettingError("MIMIC_UPSTREAM_KEY", problem)

    @property
    def uses_recordings(self) -> bool:
        """True if recordings or the upstream may answer."""
        return bool(self.upstream or self.recordings or self.match == RECORDED)

    @property
    def depth(self) -> Depth | None:
        """The lowest rung of a search of the corpus; None is the depth of its index."""
        return None if self.match == RECORDED else self.match

    @property
    def relay_options(self) -> RelayOptions:
        """The rules of recordings."""
        only = self.match == RECORDED
        return RelayOptions(self.record, only, self.recordings_order, self.record_errors, self.recordings_ignore)

    @property
    def upstream_options(self) -> UpstreamOptions | None:
        """The upstream; None without one."""
        return UpstreamOptions(self.upstream, self.upstream_key) if self.upstream else None

    @property
    def redactor(self) -> Redactor:
        """The removal of secrets from recordings."""
        hook = hook_of(self.recordings_redact) if self.recordings_redact else None
        secrets = (self.upstream_key, self.seed_secret, *self.api_keys)
        return Redactor([secret for secret in secrets if secret != OF_REQUEST], hook)

    @property
    def is_private(self) -> bool:
        """True for a server without keys that only programs on the same machine can reach."""
        return not self.api_keys and is_loopback(self.host)

    @property
    def needs_ledger(self) -> bool:
        """True if a setting needs state that all requests share."""
        return bool(
            self.rpm
            or self.tpm
            or self.journal
            or self.api_keys
            or self.seed_secret
            or (self.faults and self.fault_seed is not None)
            or (self.uses_recordings and self.recordings_order == "turn")
        )

    @property
    def limit_options(self) -> LimitOptions:
        """The rate limits, per minute."""
        return LimitOptions(self.rpm, self.tpm)

    @property
    def fault_options(self) -> FaultOptions:
        """The fault injection."""
        return FaultOptions(self.faults, self.fault_seed)

    @property
    def pace_options(self) -> PaceOptions:
        """The pace of answers."""
        return PaceOptions(self.pace, self.ttft_ms, self.itl_ms, self.load_factor)

    @property
    def tool_options(self) -> ToolOptions:
        """The rule for tool calls."""
        return ToolOptions(self.tools, self.tool_score)

    @property
    def record_options(self) -> RecordOptions:
        """The bounds and the retention of records."""
        return RecordOptions(
            most=self.records_most, most_bytes=self.records_bytes, retention=self.records_days * SECONDS_A_DAY
        )

    @property
    def file_options(self) -> FileOptions:
        """The bound of all files."""
        return FileOptions(most_bytes=self.files_bytes)

    @property
    def batch_options(self) -> BatchOptions:
        """The completion window of batches."""
        return BatchOptions(self.batch_window)

    @property
    def webhook_options(self) -> WebhookOptions:
        """The targets of webhooks in the settings, and the time for further attempts."""
        return WebhookOptions(self.webhooks, self.webhook_secret, self.webhook_seconds)

    @property
    def defaults(self) -> Defaults:
        """The defaults for requests."""
        return Defaults(self.version, self.depth, self.journal, needs_corpus=not self.uses_recordings)

    @property
    def seeding_options(self) -> SeedingOptions:
        """The options of seeding over HTTP."""
        return SeedingOptions(self.seed_secret, self.seed_file, self.seed_batch_size, self.store, self.mongo_driver)

    def open_model(self) -> "EmbeddingModel | None":
        """The embedding model, which loads its files later; None if the setting is empty."""
        if self.embedding_model is None:
            return None
        from mimic.corpus.similar.embedding_model import EmbeddingModel  # noqa: PLC0415 - its packages are optional

        return EmbeddingModel(self.embedding_model)

    def __repr__(self) -> str:
        """The settings without secrets, and without values that may hold a password."""
        shown = {field: getattr(self, field) for field in self.__struct_fields__ if field not in SECRET}
        return f"Settings({', '.join(f'{field}={value!r}' for field, value in shown.items())})"


SECRET: Final = frozenset({"store", "records", "api_keys", "seed_secret", "webhooks", "webhook_secret", "upstream_key"})
"""Settings that are never shown: secrets, and URLs, which may hold a password."""

VARIABLES: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "store": ("MIMIC_STORE", str),
    "version": ("MIMIC_VERSION", values.one_of(*VERSIONS)),
    "host": ("MIMIC_HOST", str),
    "port": ("MIMIC_PORT", values.integer(0, 65535)),
    "workers": ("MIMIC_WORKERS", values.integer(1, 256)),
    "mongo_driver": ("MIMIC_MONGO_DRIVER", values.one_of(*get_args(Driver))),
    "api_keys": ("MIMIC_API_KEYS", values.keys),
    "cors_origins": ("MIMIC_CORS_ORIGINS", values.origins),
    "hosts": ("MIMIC_HOSTS", parse_host_names),
    "strict_models": ("MIMIC_STRICT_MODELS", values.switch),
    "strict": ("MIMIC_STRICT", values.switch),
    "match": ("MIMIC_MATCH", values.one_of(*DEPTHS, RECORDED)),
    "min_score": ("MIMIC_LEAST_SCORE", values.share),
    "prompt_templates": ("MIMIC_PROMPT_TEMPLATES", values.templates),
    "embedding_model": ("MIMIC_EMBEDDING_MODEL", model_folder),
    "on_miss": ("MIMIC_ON_MISS", str),
    "assistants": ("MIMIC_ASSISTANTS", values.assistants),
    "tools": ("MIMIC_TOOLS", values.one_of(*TOOL_MODES)),
    "tool_score": ("MIMIC_TOOL_SCORE", values.share),
    "moderation_words": ("MIMIC_MODERATION_WORDS", values.moderation_words),
    "reasoning": ("MIMIC_REASONING", values.integer(0, 1_000_000)),
    "pace": ("MIMIC_PACE", values.one_of(*PACES)),
    "ttft_ms": ("MIMIC_TTFT_MS", parse_delay),
    "itl_ms": ("MIMIC_ITL_MS", parse_delay),
    "load_factor": ("MIMIC_LOAD_FACTOR", values.factor),
    "most_in_flight": ("MIMIC_MOST_IN_FLIGHT", values.integer(0, 1_000_000)),
    "faults": ("MIMIC_FAULTS", parse_chances),
    "fault_seed": ("MIMIC_FAULT_SEED", values.integer(0, 2**63 - 1)),
    "rpm": ("MIMIC_RPM", values.integer(0, 1_000_000_000)),
    "tpm": ("MIMIC_TPM", values.integer(0, 1_000_000_000)),
    "journal": ("MIMIC_JOURNAL", values.integer(0, MOST_ENTRIES)),
    "access_log": ("MIMIC_ACCESS_LOG", values.switch),
    "traces": ("MIMIC_TRACES", values.traces),
    "client_timeout": ("MIMIC_CLIENT_TIMEOUT", values.integer(1, 86_400)),
    "upstream": ("MIMIC_UPSTREAM", parse_url),
    "upstream_key": ("MIMIC_UPSTREAM_KEY", str),
    "upstream_tokens_per_day": ("MIMIC_UPSTREAM_TOKENS_PER_DAY", values.integer(0, 10**12)),
    "recordings": ("MIMIC_RECORDINGS", str),
    "record": ("MIMIC_RECORD", values.one_of("off", "new", "all")),
    "record_errors": ("MIMIC_RECORD_ERRORS", values.switch),
    "recordings_ignore": ("MIMIC_RECORDINGS_IGNORE", IgnoreRules.parse),
    "recordings_order": ("MIMIC_RECORDINGS_ORDER", values.one_of("newest", "turn")),
    "recordings_redact": ("MIMIC_RECORDINGS_REDACT", values.hook),
    "records": ("MIMIC_RECORDS", str),
    "records_most": ("MIMIC_RECORDS_MOST", values.integer(1, 1_000_000_000)),
    "records_bytes": ("MIMIC_RECORDS_BYTES", values.integer(10_000_000, 1_000_000_000_000)),
    "records_days": ("MIMIC_RECORDS_DAYS", values.integer(1, 36_500)),
    "files_bytes": ("MIMIC_FILES_BYTES", values.integer(1_000_000, 1_000_000_000_000)),
    "batch_window": ("MIMIC_BATCH_WINDOW", values.integer(1, SECONDS_A_DAY)),
    "webhooks": ("MIMIC_WEBHOOKS", values.urls),
    "webhook_secret": ("MIMIC_WEBHOOK_SECRET", parse_secret),
    "webhook_hosts": ("MIMIC_WEBHOOK_HOSTS", parse_host_names),
    "webhook_seconds": ("MIMIC_WEBHOOK_SECONDS", values.integer(0, 3 * SECONDS_A_DAY)),
    "seed_secret": ("SEED_SECRET", str),
    "seed_file": ("SEED_FILE", Path),
    "seed_join_splits": ("SEED_JOIN_SPLITS", values.switch),
    "seed_count_tokens": ("SEED_COUNT_TOKENS", values.switch),
    "seed_batch_size": ("SEED_BATCH_SIZE", values.integer(1, 100_000)),
}
"""The environment variable of each setting, and its parser."""

PREFIXES: Final = ("MIMIC_", "SEED_")
"""The prefixes of all variables."""


def similar_setting(name: str) -> str | None:
    """The setting whose name is closest to a misspelled one."""
    return closest(name.upper().replace("-", "_"), [known for known, _ in VARIABLES.values()])


def unknown_setting(name: str, choosable: Iterable[str] | None = None) -> str:
    """The problem with a name that is not a setting, with the closest name and the list of all names."""
    known = sorted(choosable or [variable for variable, _ in VARIABLES.values()])
    similar = similar_setting(name)
    guess = f"did you mean {similar}? The settings" if similar in known else "the settings"
    return f"is not a setting; {guess} are {', '.join(known)}"
