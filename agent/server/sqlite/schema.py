"""The index's tables, one list of statements for each version of the schema."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE cameras (
            name TEXT PRIMARY KEY, token_hash BLOB, created_ns INTEGER NOT NULL
        ) WITHOUT ROWID""",
        "CREATE TABLE gone (hash BLOB PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        """CREATE TABLE items (
            id INTEGER PRIMARY KEY, camera TEXT NOT NULL, spool TEXT NOT NULL, seq INTEGER NOT NULL,
            type INTEGER NOT NULL, event INTEGER NOT NULL, wall_ns INTEGER NOT NULL, stored_ns INTEGER NOT NULL,
            bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, UNIQUE (camera, spool, seq)
        )""",
        "CREATE INDEX items_event ON items (camera, spool, event, seq)",
        "CREATE INDEX items_age ON items (stored_ns)",
        """CREATE TABLE ranges (
            camera TEXT NOT NULL, spool TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
            PRIMARY KEY (camera, spool, first)
        ) WITHOUT ROWID""",
        """CREATE TABLE dropped (
            camera TEXT NOT NULL, spool TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
            why TEXT NOT NULL, at_ns INTEGER NOT NULL, PRIMARY KEY (camera, spool, first, last)
        ) WITHOUT ROWID""",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, camera TEXT NOT NULL, spool TEXT NOT NULL,
            number INTEGER NOT NULL, at_ns INTEGER NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL,
            end_ns INTEGER, state TEXT NOT NULL DEFAULT 'unannounced', score REAL NOT NULL DEFAULT 0,
            peak REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', boxes TEXT NOT NULL DEFAULT '[]',
            follows INTEGER NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '', frames INTEGER NOT NULL DEFAULT 0,
            clips INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, touched_ns INTEGER NOT NULL,
            thumb_seq INTEGER, thumb_start INTEGER, thumb_length INTEGER, thumb_ns INTEGER,
            UNIQUE (camera, spool, number)
        )""",
        "CREATE INDEX events_at ON events (at_ns DESC, id DESC)",
        "CREATE INDEX events_camera_at ON events (camera, at_ns DESC, id DESC)",
        """CREATE TABLE owner (
            id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL
        )""",
        """CREATE TABLE sessions (
            hash BLOB PRIMARY KEY, role TEXT NOT NULL, expires_ns INTEGER NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE past (
            camera TEXT NOT NULL, spool TEXT NOT NULL, block INTEGER NOT NULL, digests BLOB NOT NULL,
            PRIMARY KEY (camera, spool, block)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE cameras ADD COLUMN login TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE cameras ADD COLUMN password_hash BLOB",
        "ALTER TABLE cameras ADD COLUMN account INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE cameras ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE events ADD COLUMN kept INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE accounts (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
            salt BLOB NOT NULL, hash BLOB NOT NULL
        )""",
        "INSERT INTO accounts SELECT 1, name, 'owner', salt, hash FROM owner",
        "DROP TABLE owner",
        "DROP TABLE sessions",
        """CREATE TABLE sessions (
            hash BLOB PRIMARY KEY, account INTEGER NOT NULL, expires_ns INTEGER NOT NULL
        ) WITHOUT ROWID""",
        "CREATE TABLE erasing (camera TEXT PRIMARY KEY) WITHOUT ROWID",
        """CREATE TABLE grants (
            account INTEGER NOT NULL, camera TEXT NOT NULL, PRIMARY KEY (account, camera)
        ) WITHOUT ROWID""",
        """CREATE TABLE links (
            hash BLOB PRIMARY KEY, kind TEXT NOT NULL, account INTEGER NOT NULL, camera TEXT NOT NULL,
            expires_ns INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE tokens (
            id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, account INTEGER NOT NULL,
            name TEXT NOT NULL, scope TEXT NOT NULL, camera TEXT NOT NULL, created_ns INTEGER NOT NULL,
            expires_ns INTEGER NOT NULL
        )""",
        """CREATE TABLE shares (
            id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, account INTEGER NOT NULL,
            camera TEXT NOT NULL, event INTEGER NOT NULL, created_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL,
            views INTEGER NOT NULL DEFAULT 0
        )""",
    ),
    (
        "ALTER TABLE items ADD COLUMN codec INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE items ADD COLUMN first_index INTEGER",
        "ALTER TABLE items ADD COLUMN last_index INTEGER",
        "ALTER TABLE items ADD COLUMN key_index INTEGER",
    ),
    (
        """CREATE TABLE notes (
            id INTEGER PRIMARY KEY AUTOINCREMENT, camera TEXT NOT NULL, spool TEXT NOT NULL, number INTEGER NOT NULL,
            at_ns INTEGER NOT NULL, due_ns INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
            told TEXT NOT NULL DEFAULT '[]'
        )""",
    ),
    (
        # What a camera's items take, lately or in all, and which are old: read without a look at the rows.
        "CREATE INDEX items_camera_age ON items (camera, stored_ns, bytes)",
    ),
    (
        # Of a camera that is there already its age is its id, and so in its older backups, too.
        "ALTER TABLE cameras ADD COLUMN camera_id TEXT NOT NULL DEFAULT ''",
        "UPDATE cameras SET camera_id = printf('%016x', created_ns) WHERE created_ns > 0",
    ),
    ("ALTER TABLE cameras ADD COLUMN pull_error TEXT NOT NULL DEFAULT ''",),
    # What goes first when bytes are short: single pictures (type 1), which may be few or none among many clips.
    ("CREATE INDEX items_stills ON items (stored_ns) WHERE type=1",),
)
