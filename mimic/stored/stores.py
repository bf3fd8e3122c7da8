"""The stores of all kinds of objects that clients find again, over the same records."""

from collections.abc import Mapping

from mimic.records.base import Records
from mimic.stored.assistants import AssistantStore
from mimic.stored.batches import BatchStore
from mimic.stored.chats import ChatStore
from mimic.stored.conversations import ConversationStore
from mimic.stored.files import FileStore, FileSweeper
from mimic.stored.options import BatchOptions, FileOptions
from mimic.stored.responses import ResponseStore
from mimic.stored.runs import RunStore
from mimic.stored.threads import THREADS, ThreadStore
from mimic.stored.uploads import UploadStore
from mimic.stored.webhook_deliveries import DeliveryStore
from mimic.stored.webhook_endpoints import EndpointStore
from mimic.stored.webhook_targets import TargetGuard, WebhookOptions
from mimic.wire.openai.assistants.objects import AssistantFields
from mimic.wire.openai.base import Names


class Stores:
    """A store for each kind of object. Routes ask for the stores by the names of these fields."""

    def __init__(
        self,
        records: Records,
        targets: TargetGuard,
        hooks: WebhookOptions,
        files: FileOptions,
        batches: BatchOptions,
        names: Names,
        assistants: Mapping[str, AssistantFields],
    ) -> None:
        self.conversations = ConversationStore(records)
        self.webhooks = EndpointStore(records, targets)
        self.deliveries = DeliveryStore(records, self.webhooks, len(hooks.urls), hooks.seconds)
        self.responses = ResponseStore(records, self.conversations, self.deliveries)
        self.chats = ChatStore(records)
        self.files = FileStore(records, files)
        self.uploads = UploadStore(records, self.files)
        self.batches = BatchStore(records, self.files, batches)
        self.assistants = AssistantStore(records, names, assistants)
        threads = ConversationStore(records, THREADS)
        self.runs = RunStore(records, threads, self.assistants)
        self.threads = ThreadStore(threads, self.runs)

    def file_sweeper(self, records: Records) -> FileSweeper:
        """The removal of contents that no record holds."""
        return FileSweeper(records, [self.files.holds, self.uploads.holds, self.batches.holds])
