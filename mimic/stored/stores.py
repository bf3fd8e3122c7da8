"""The stores of all kinds of objects that clients find again, over the same records."""

from mimic.records.base import Records
from mimic.stored.batches import BatchStore
from mimic.stored.chats import ChatStore
from mimic.stored.conversations import ConversationStore
from mimic.stored.files import FileStore, FileSweeper
from mimic.stored.options import BatchOptions, FileOptions
from mimic.stored.responses import ResponseStore
from mimic.stored.uploads import UploadStore
from mimic.stored.webhook_deliveries import DeliveryStore
from mimic.stored.webhook_endpoints import EndpointStore
from mimic.stored.webhook_targets import TargetGuard, WebhookOptions


class Stores:
    """One store a kind. Their names are the names by which routes ask for them."""

    def __init__(
        self, records: Records, targets: TargetGuard, hooks: WebhookOptions, files: FileOptions, batches: BatchOptions
    ) -> None:
        self.conversations = ConversationStore(records)
        self.webhooks = EndpointStore(records, targets)
        self.deliveries = DeliveryStore(records, self.webhooks, len(hooks.urls), hooks.seconds)
        self.responses = ResponseStore(records, self.conversations, self.deliveries)
        self.chats = ChatStore(records)
        self.files = FileStore(records, files)
        self.uploads = UploadStore(records, self.files)
        self.batches = BatchStore(records, self.files, batches)

    def file_sweeper(self, records: Records) -> FileSweeper:
        """The removal of contents that no record holds."""
        return FileSweeper(records, [self.files.holds, self.uploads.holds, self.batches.holds])
