"""A program that locks an SQLite database until its standard input ends.

    python lock.py '{"path": "results.db"}'

Once it has locked it, it writes `["locked"]`.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing

with closing(sqlite3.connect(json.loads(sys.argv[1])["path"], isolation_level=None)) as connection:
    connection.execute("BEGIN EXCLUSIVE")
    print('["locked"]', flush=True)
    sys.stdin.read()
    connection.execute("COMMIT")
