"""Whatever keeps experiments is tested on both kinds of database, or it is said here why not."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ON_ONE = {
    # files
    "test_sqlite.py": "what a file alone can suffer: locks, a full disk, damage, a network disk",
    "test_postgres.py": "what a server alone can suffer",
    "test_migrations.py": "the schemas that were released before there was PostgreSQL",
    "test_imports.py": "",
}
