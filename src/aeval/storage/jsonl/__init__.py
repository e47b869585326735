"""JSON lines: one append-only file a run, readable with any tool."""

from aeval.storage.jsonl.backend import JsonlBackend

__all__ = ["JsonlBackend"]
