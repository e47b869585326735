"""Scorers that need nothing but aeval."""

from __future__ import annotations

from aeval.scorers.choice import multiple_choice
from aeval.scorers.exact import exact_match
from aeval.scorers.json_value import json_equal
from aeval.scorers.number import numeric
from aeval.scorers.numerals import last_number
from aeval.scorers.text import includes, regex

__all__ = ["exact_match", "includes", "json_equal", "last_number", "multiple_choice", "numeric", "regex"]
