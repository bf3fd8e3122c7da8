"""The place of recordings: a folder, or the records."""

from pathlib import Path

from mimic.recordings.base import Recordings
from mimic.recordings.folder import FolderRecordings
from mimic.recordings.options import IN_RECORDS, NO_RULES, IgnoreRules
from mimic.recordings.stored import StoredRecordings
from mimic.records.base import Records


def open_recordings(place: str, records: Records, rules: IgnoreRules = NO_RULES) -> Recordings:
    """The recordings in a folder, or in the records if no folder is named."""
    return StoredRecordings(records) if place in {"", IN_RECORDS} else FolderRecordings(Path(place), rules)
