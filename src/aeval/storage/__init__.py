"""Where results are kept."""

from aeval.storage.base import Session, StoredRun
from aeval.storage.storage import Storage, open_storage

__all__ = ["Session", "Storage", "StoredRun", "open_storage"]
