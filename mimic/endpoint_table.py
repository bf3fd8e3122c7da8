"""The endpoints: the path, the format, the engine and the policy of each."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mimic.corpus.corpus import Corpus
from mimic.corpus.ladder import MatchPolicy
from mimic.engine.embedding import EmbeddingsRequest, Vectors
from mimic.engine.fallback import NOT_FOUND, NoEngine, PlainEngine, chain
from mimic.engine.moderation import Moderator
from mimic.engine.retrieval import RetrievalEngine
from mimic.engine.tools.assistant import AssistantEngine
from mimic.gateway.context import Policy
from mimic.gateway.handle import Endpoint
from mimic.recordings.options import RECORDED, UPSTREAM
from mimic.server.routes.openai.run_endpoints import RunEndpoints
from mimic.settings import Settings
from mimic.stored.connection import ConnectionResponses
from mimic.stored.stores import Stores
from mimic.wire import native
from mimic.wire.openai import chat, completions, embeddings, responses
from mimic.wire.openai.base import Names
from mimic.wire.openai.moderations import PATH as MODERATIONS
from mimic.wire.openai.moderations import ModerationsWire
from mimic.wire.openai.responses.compaction import CompactWire, compact
from mimic.wire.openai.responses.socket import SocketWire, complete_or_prepare
from mimic.wire.openai.responses.wire import ResponsesWire, TokenCountWire, count_tokens
from mimic.wire.openai.sampled import CompletionOptions

if TYPE_CHECKING:
    from mimic.recordings.relay import Relay

Answer: TypeAlias = Callable[[Any], Awaitable[Any]]

ANSWERED: Final = Policy(limited=True, faulty=True, queued=True)
"""The policy of chats and prompts."""
LIMITED: Final = Policy(limited=True)
"""The policy of requests that the corpus does not answer."""


class EndpointTable:
    """The endpoints of a server by its settings."""

    def __init__(self, settings: Settings, corpus: Corpus, retrieval: RetrievalEngine) -> None:
        self._settings = settings
        self._corpus = corpus
        self._retrieval = retrieval
        self.names = Names(settings.version, settings.strict_models)
        policy = MatchPolicy(settings.depth, settings.min_score, templates=settings.prompt_templates)
        self._options = CompletionOptions(self.names, policy, settings.strict, settings.reasoning)
        first, _, rest = settings.on_miss.partition(",")
        self._asks_upstream = first == UPSTREAM
        self._after_upstream = rest if self._asks_upstream else ""
        self._on_miss = (rest or NOT_FOUND) if self._asks_upstream else settings.on_miss
        self._engine = self._engine_before(self._on_miss, retrieval)

    def endpoints(self, stores: Stores, embed: Callable[[EmbeddingsRequest], Awaitable[Vectors]]) -> Sequence[Endpoint]:
        """The endpoints without recordings and the upstream, in the order of the OpenAPI document."""
        options, names, answer = self._options, self.names, self._engine.complete
        chat_format = chat.ChatWire(options)
        keep_chat, keep_response = partial(stores.chats.keep, chat_format), stores.responses.keep
        response_format = ResponsesWire(options, stores.responses)
        count_format = TokenCountWire(options, stores.responses)
        moderate = Moderator(self._settings.moderation_words).moderate
        return (
            Endpoint(native.PATH, native.NativeWire(names.version, options.policy), self._retrieval.continuations),
            Endpoint(chat.PATH, chat_format, answer, ANSWERED, keep_chat),
            Endpoint(completions.PATH, completions.CompletionsWire(options), answer, ANSWERED),
            Endpoint(responses.PATH, response_format, answer, ANSWERED, keep_response),
            Endpoint(responses.COUNT_PATH, count_format, count_tokens, LIMITED),
            Endpoint(responses.COMPACT_PATH, CompactWire(names, stores.responses), compact, LIMITED),
            Endpoint(embeddings.PATH, embeddings.EmbeddingsWire(names), embed, LIMITED),
            Endpoint(MODERATIONS, ModerationsWire(names), moderate, LIMITED),
        )

    def relayed(self, relay: "Relay", endpoints: Iterable[Endpoint]) -> Sequence[Endpoint]:
        """The endpoints, with recordings and the upstream in the chain of answers."""
        corpus, rest = self._around_upstream
        return [relay.endpoint(one, corpus, rest) if one.policy.queued else one for one in endpoints]

    @cached_property
    def _around_upstream(self) -> tuple[Answer | None, Answer | None]:
        """The answers of the corpus before the upstream, and those after it."""
        only_recorded, upstream = self._settings.match == RECORDED, self._settings.upstream
        answer_corpus: Answer | None = None
        answer_rest: Answer | None = None
        if upstream and not only_recorded:
            answer_corpus = PlainEngine(self._retrieval).complete
        if self._after_upstream:  # the corpus was asked before
            answer_rest = self._engine_before(self._after_upstream, NoEngine()).complete
        elif not upstream and not only_recorded:
            answer_rest = self._engine.complete
        return answer_corpus, answer_rest

    def run_endpoints(self, stores: Stores) -> RunEndpoints:
        """The endpoints of runs. Neither recordings nor the upstream answer them."""
        wire = ResponsesWire(self._options, stores.responses)
        return RunEndpoints(wire, stores.runs, self._engine.complete, ANSWERED)

    def socket_endpoint(self, relay: "Relay | None", recent: ConnectionResponses) -> Endpoint:
        """The endpoint of one WebSocket, which knows the recent responses of its connection."""
        answer = partial(complete_or_prepare, self._engine.complete)
        endpoint = Endpoint(responses.PATH, SocketWire(self._options, recent), answer, ANSWERED)
        return relay.endpoint(endpoint, *self._around_upstream) if relay else endpoint

    def _engine_before(self, on_miss: str, engine: RetrievalEngine | NoEngine) -> AssistantEngine:
        """An engine with tools and structured answers, and the fallback after it."""
        return AssistantEngine(engine, chain(engine, on_miss, self._corpus), self._settings.tool_options)
