#include "config.h"

#include "index_db.h"

/* In triggers: a row of asset comes into the totals, or leaves them. */
#define TOTAL_ADD_ASSET                                                        \
	"INSERT INTO total VALUES (new.cache, new.state, 1, new.size,"         \
	" CASE WHEN new.spool IS NULL THEN 0 ELSE new.size END)"               \
	" ON CONFLICT DO UPDATE SET count = count + 1,"                        \
	" bytes = bytes + excluded.bytes,"                                     \
	" in_spool = in_spool + excluded.in_spool;"
#define TOTAL_TAKE_ASSET                                                       \
	"UPDATE total SET count = count - 1, bytes = bytes - old.size,"        \
	" in_spool = in_spool"                                                 \
	" - CASE WHEN old.spool IS NULL THEN 0 ELSE old.size END"              \
	" WHERE cache = old.cache AND what = old.state;"

/*
 * Of a path: nobody signed it, and it is not addressed by its content.  SQLite
 * takes the index path_unsigned for a statement with just this text.
 */
#define UNSIGNED "ca IS NULL AND instr(narinfo, '\nSig: ') = 0"

/*
 * Append only: a file in the field has run a prefix of these.
 *
 * asset.hash_part is set for narinfos and for nothing else; asset.spool for
 * everything else that is not stored (see index.h).
 */
const char *const index_migrations[] = {
	"CREATE TABLE asset ("
	" id INTEGER PRIMARY KEY,"
	" cache TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" hash_part TEXT,"
	" size INTEGER NOT NULL CHECK (size >= 0),"
	" sha256 BLOB NOT NULL CHECK (length(sha256) = 32),"
	" content_type TEXT NOT NULL,"
	" state TEXT NOT NULL DEFAULT 'spooled'"
	"  CHECK (state IN ('spooled', 'relaying', 'stored', 'failed')),"
	" spool TEXT,"
	" url TEXT,"
	" owner TEXT,"
	" lease INTEGER NOT NULL DEFAULT 0,"
	" attempts INTEGER NOT NULL DEFAULT 0,"
	" next_attempt INTEGER NOT NULL DEFAULT 0,"
	" last_error TEXT,"
	" created INTEGER NOT NULL,"
	" UNIQUE (cache, key)"
	") STRICT;"
	"CREATE INDEX asset_waiting ON asset (cache, state, next_attempt)"
	" WHERE state <> 'stored';"
	"CREATE INDEX asset_spool ON asset (spool) WHERE spool IS NOT NULL;"
	"CREATE TABLE path ("
	" cache TEXT NOT NULL,"
	" hash_part TEXT NOT NULL,"
	" store_path TEXT NOT NULL,"
	" narinfo TEXT NOT NULL,"
	" nar_key TEXT NOT NULL,"
	" nar_hash BLOB NOT NULL CHECK (length(nar_hash) = 32),"
	" nar_size INTEGER NOT NULL CHECK (nar_size > 0),"
	" file_size INTEGER NOT NULL CHECK (file_size >= 0),"
	" deriver TEXT,"
	" ca TEXT,"
	" created INTEGER NOT NULL,"
	" PRIMARY KEY (cache, hash_part),"
	" FOREIGN KEY (cache, nar_key) REFERENCES asset (cache, key)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX path_nar ON path (cache, nar_key);"
	"CREATE TABLE reference ("
	" cache TEXT NOT NULL,"
	" hash_part TEXT NOT NULL,"
	" ref TEXT NOT NULL,"
	" PRIMARY KEY (cache, hash_part, ref),"
	" FOREIGN KEY (cache, hash_part) REFERENCES path (cache, hash_part)"
	"  ON DELETE CASCADE"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE token ("
	" name TEXT PRIMARY KEY,"
	" secret BLOB NOT NULL UNIQUE CHECK (length(secret) = 32),"
	" scopes INTEGER NOT NULL,"
	" created INTEGER NOT NULL,"
	" expires INTEGER NOT NULL DEFAULT 0,"
	" last_used INTEGER NOT NULL DEFAULT 0"
	") STRICT;"
	"CREATE TABLE meta ("
	" name TEXT PRIMARY KEY,"
	" value TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;",

	/* The spool's bytes from the index alone; who references a path. */
	"DROP INDEX asset_spool;"
	"CREATE INDEX asset_spool ON asset (spool, size)"
	" WHERE spool IS NOT NULL;"
	"CREATE INDEX reference_ref ON reference (cache, ref);",

	/* What NARs are, who sent what, what tokens may. */
	"CREATE TABLE nar ("
	" cache TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" verdict INTEGER NOT NULL,"
	" why TEXT NOT NULL,"
	" compression TEXT NOT NULL,"
	" nar_hash BLOB CHECK (length(nar_hash) = 32),"
	" nar_size INTEGER,"
	" file_hash BLOB CHECK (length(file_hash) = 32),"
	" refs BLOB,"
	" refs_complete INTEGER,"
	" checked INTEGER NOT NULL,"
	" listing TEXT,"
	" PRIMARY KEY (cache, key),"
	" FOREIGN KEY (cache, key) REFERENCES asset (cache, key)"
	"  ON DELETE CASCADE"
	") STRICT;"
	"CREATE TABLE audit ("
	" id INTEGER PRIMARY KEY,"
	" time INTEGER NOT NULL,"
	" cache TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" token TEXT NOT NULL,"
	" address TEXT NOT NULL,"
	" size INTEGER NOT NULL,"
	" what TEXT NOT NULL"
	") STRICT;"
	"CREATE INDEX audit_token ON audit (token, time);"
	"ALTER TABLE token ADD COLUMN keys TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE token ADD COLUMN quota_day INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN quota_total INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN used_total INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN used_day INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN day INTEGER NOT NULL DEFAULT 0;",

	/* The paths that no reader can use, for those who count them. */
	"CREATE INDEX path_unsigned ON path (cache) WHERE " UNSIGNED ";",

	/*
	 * What waits, the first to be claimed first: objects and narinfos
	 * apart, as narinfos may wait long for others.  And totals, so that
	 * nobody counts a million rows.
	 */
	"DROP INDEX asset_waiting;"
	"CREATE INDEX asset_waiting"
	" ON asset (state, hash_part IS NULL, next_attempt)"
	" WHERE state <> 'stored';"
	"CREATE TABLE total ("
	" cache TEXT NOT NULL,"
	" what TEXT NOT NULL," /* a state of assets, or 'path' */
	" count INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL,"
	" in_spool INTEGER NOT NULL," /* of these bytes */
	" PRIMARY KEY (cache, what)"
	") STRICT, WITHOUT ROWID;"
	"INSERT INTO total SELECT cache, state, count(*), sum(size),"
	" coalesce(sum(size) FILTER (WHERE spool IS NOT NULL), 0)"
	" FROM asset GROUP BY cache, state;"
	"INSERT INTO total SELECT cache, 'path', count(*), sum(nar_size), 0"
	" FROM path GROUP BY cache;"
	"CREATE TRIGGER asset_insert AFTER INSERT ON asset"
	" BEGIN " TOTAL_ADD_ASSET " END;"
	"CREATE TRIGGER asset_delete AFTER DELETE ON asset"
	" BEGIN " TOTAL_TAKE_ASSET " END;"
	"CREATE TRIGGER asset_update"
	" AFTER UPDATE OF cache, state, size, spool ON asset"
	" BEGIN " TOTAL_TAKE_ASSET TOTAL_ADD_ASSET " END;"
	"CREATE TRIGGER path_insert AFTER INSERT ON path BEGIN"
	" INSERT INTO total VALUES (new.cache, 'path', 1, new.nar_size, 0)"
	" ON CONFLICT DO UPDATE SET count = count + 1,"
	" bytes = bytes + excluded.bytes; END;"
	"CREATE TRIGGER path_delete AFTER DELETE ON path BEGIN"
	" UPDATE total SET count = count - 1, bytes = bytes - old.nar_size"
	" WHERE cache = old.cache AND what = 'path'; END;",

	/* Who was told today that what he sent is here. */
	"CREATE INDEX audit_same ON audit (token, cache, key, time)"
	" WHERE what = 'same';",

	/*
	 * When the bytes of an object were found to be lost: it is failed, and
	 * the narinfos over it are not served until somebody sends it again.
	 */
	"ALTER TABLE asset ADD COLUMN missing INTEGER NOT NULL DEFAULT 0;"
	"CREATE INDEX asset_missing ON asset (cache, key) WHERE missing <> 0;",

	/*
	 * Whose an object is: a number that no token has again when this one
	 * is gone.  What is here already is whose the audit log says, if that
	 * token is still there; else it is 0, nobody's.
	 */
	"CREATE TABLE pusher ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" name TEXT NOT NULL"
	") STRICT;"
	"ALTER TABLE token ADD COLUMN id INTEGER NOT NULL DEFAULT 0;"
	"INSERT INTO pusher (name) SELECT name FROM token;"
	"UPDATE token SET id ="
	" (SELECT p.id FROM pusher AS p WHERE p.name = token.name);"
	"CREATE TRIGGER token_insert AFTER INSERT ON token BEGIN"
	" INSERT INTO pusher (name) VALUES (new.name);"
	" UPDATE token SET id = last_insert_rowid() WHERE name = new.name;"
	" END;"
	"ALTER TABLE asset ADD COLUMN pusher INTEGER NOT NULL DEFAULT 0;"
	"CREATE INDEX audit_key ON audit (cache, key);"
	"UPDATE asset SET pusher = coalesce("
	"(SELECT t.id FROM (SELECT token, time FROM audit"
	"  WHERE cache = asset.cache AND key = asset.key AND what <> 'same'"
	"  ORDER BY id DESC LIMIT 1) AS a"
	"  JOIN token AS t ON t.name = a.token AND t.created <= a.time), 0)"
	" WHERE hash_part IS NULL AND key NOT LIKE 'nar/%';"
	"DROP INDEX audit_key;",

	/* What tokens have cost, and since when that is counted. */
	"ALTER TABLE token ADD COLUMN unpacked INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN cpu_us INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN cost_since INTEGER NOT NULL DEFAULT 0;"
	"UPDATE token SET cost_since = CAST(strftime('%s', 'now') AS INTEGER);"
	/* Which limit a NAR was over (enum verify_limit), and what it was. */
	"ALTER TABLE nar ADD COLUMN over INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE nar ADD COLUMN over_limit INTEGER NOT NULL DEFAULT 0;"
	"UPDATE nar SET over = 1, over_limit = nar_size"
	" WHERE verdict = 2 AND nar_size > 0;",

	/* What fsck did, by kind, and what it found (index_fsck.h). */
	"CREATE TABLE fsck ("
	" kind TEXT PRIMARY KEY,"
	" options INTEGER NOT NULL,"
	" sample INTEGER NOT NULL,"
	" began INTEGER NOT NULL,"
	" noted INTEGER NOT NULL,"
	" complete INTEGER NOT NULL,"
	" cache TEXT NOT NULL,"
	" phase TEXT NOT NULL,"
	" at TEXT NOT NULL,"
	" objects INTEGER NOT NULL,"
	" read INTEGER NOT NULL,"
	" work INTEGER NOT NULL,"
	" problems INTEGER NOT NULL,"
	" repaired INTEGER NOT NULL,"
	" unknown INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE finding ("
	" cache TEXT NOT NULL,"
	" phase TEXT NOT NULL,"
	" at TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" kind TEXT NOT NULL,"
	" what TEXT NOT NULL,"
	" options INTEGER NOT NULL,"
	" found INTEGER NOT NULL,"
	" PRIMARY KEY (cache, phase, at, key, kind)"
	") STRICT, WITHOUT ROWID;"
	"INSERT INTO meta VALUES ('fsck.since', strftime('%s', 'now'));",

	/* What a realisation says, as the store may keep it far away. */
	"CREATE TABLE realisation ("
	" cache TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" text TEXT NOT NULL,"
	" PRIMARY KEY (cache, key),"
	" FOREIGN KEY (cache, key) REFERENCES asset (cache, key)"
	"  ON DELETE CASCADE"
	") STRICT;",

	/* When a narinfo was found not to have the text that was written. */
	"ALTER TABLE asset ADD COLUMN spoiled INTEGER NOT NULL DEFAULT 0;"
	"CREATE INDEX asset_spoiled ON asset (cache, key) WHERE spoiled <> 0;",
};

const size_t index_nmigrations =
    sizeof(index_migrations) / sizeof(index_migrations[0]);

#define ASSET_COLUMNS                                                          \
	"id, key, state, size, sha256, spool, url, created, attempts, pusher"

#define TOKEN_COLUMNS                                                          \
	"name, secret, scopes, created, expires, last_used, keys, quota_day,"  \
	" quota_total, used_total, used_day, day, id, unpacked, cpu_us,"       \
	" cost_since"

/*
 * Rows that wait, by asset_waiting: a partial index is used only for what says
 * its condition in the same words, one of an expression only for what compares
 * it.  "+" keeps SQLite from the index of keys, where a cache is all rows.
 */
#define SPOOLED "state = 'spooled' AND state <> 'stored' AND +cache = ?1"
#define SPOOLED_OBJECT SPOOLED " AND (hash_part IS NULL) = 1"
#define SPOOLED_NARINFO SPOOLED " AND (hash_part IS NULL) = 0"
#define SPOOLED_ANY SPOOLED " AND (hash_part IS NULL) IN (0, 1)"
#define RELAYING "state = 'relaying' AND state <> 'stored'"
/*
 * Of a claim: its time has passed, or is so far off that the clock must have
 * been set back.  Not of the one who asks (?4), who renews his.
 */
#define LEASE_OVER "(lease < ?2 OR (lease > ?3 AND owner IS NOT ?4))"
#define NOT_STORED                                                             \
	"state IN ('spooled', 'relaying', 'failed') AND state <> 'stored'"     \
	" AND +cache = ?1"

/* I4: the NAR of narinfo a, and every narinfo it references, are stored. */
#define NAR_STORED                                                             \
	"EXISTS (SELECT 1 FROM path AS p JOIN asset AS n"                      \
	" ON n.cache = p.cache AND n.key = p.nar_key"                          \
	" WHERE p.cache = ?1 AND p.hash_part = a.hash_part"                    \
	" AND n.state = 'stored')"
#define REFERENCES_STORED                                                      \
	"NOT EXISTS (SELECT 1 FROM reference AS r JOIN asset AS m"             \
	" ON m.cache = r.cache AND m.key = r.ref || '.narinfo'"                \
	" WHERE r.cache = ?1 AND r.hash_part = a.hash_part"                    \
	" AND r.ref <> a.hash_part AND m.state <> 'stored')"
#define NARINFO_MAY_GO NAR_STORED " AND " REFERENCES_STORED

/* The statements. */
const char *const index_sql[ST_MAX] = {
	[ST_ASSET_GET] =
	    "SELECT " ASSET_COLUMNS " FROM asset WHERE cache = ?1 AND key = ?2",
	[ST_ASSET_INSERT] =
	    "INSERT INTO asset (cache, key, hash_part, size, sha256,"
	    " content_type, spool, created, pusher)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	/*
	 * One that is on its way stays claimed: were the new bytes to overtake
	 * the old ones, the store would end with those.
	 */
	[ST_ASSET_REPLACE] =
	    "UPDATE asset SET size = ?3, sha256 = ?4, spool = ?5, created = ?6,"
	    " state = CASE state WHEN 'relaying' THEN state ELSE 'spooled' END,"
	    " attempts = 0, next_attempt = 0, last_error = NULL, missing = 0,"
	    " pusher = ?7, spoiled = 0 WHERE cache = ?1 AND key = ?2",
	[ST_REALISATION_SET] =
	    "INSERT INTO realisation (cache, key, text) VALUES (?1, ?2, ?3)"
	    " ON CONFLICT DO UPDATE SET text = excluded.text",
	[ST_REALISATION_GET] =
	    "SELECT text FROM realisation WHERE cache = ?1 AND key = ?2",
	[ST_PATH_GET] =
	    "SELECT p.narinfo, a.sha256 FROM path AS p LEFT JOIN asset AS a"
	    " ON a.cache = p.cache AND a.key = p.hash_part || '.narinfo'"
	    " WHERE p.cache = ?1 AND p.hash_part = ?2",
	[ST_PATH_INSERT] =
	    "INSERT INTO path (cache, hash_part, store_path, narinfo, nar_key,"
	    " nar_hash, nar_size, file_size, deriver, ca, created)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
	[ST_PATH_TEXT] =
	    "UPDATE path SET narinfo = ?3 WHERE cache = ?1 AND hash_part = ?2",
	/* What a path means must be what it meant. */
	[ST_PATH_HEAL] =
	    "UPDATE path SET narinfo = ?3, nar_key = ?4, file_size = ?5,"
	    " deriver = ?6, ca = ?7 WHERE cache = ?1 AND hash_part = ?2"
	    " AND store_path = ?8 AND nar_hash = ?9 AND nar_size = ?10",
	[ST_SPOILED_GET] =
	    "SELECT spoiled FROM asset WHERE cache = ?1 AND key = ?2",
	[ST_SPOILED_SET] =
	    "UPDATE asset SET spoiled = ?3 WHERE cache = ?1 AND key = ?2",
	[ST_SPOILED_COUNT] =
	    "SELECT count(*) FROM asset INDEXED BY asset_spoiled"
	    " WHERE cache = ?1 AND spoiled <> 0",
	[ST_REFERENCE_INSERT] = "INSERT OR IGNORE INTO reference"
				" (cache, hash_part, ref) VALUES (?1, ?2, ?3)",
	[ST_ASSET_IMPORT] =
	    "INSERT INTO asset (cache, key, hash_part, size, sha256,"
	    " content_type, state, created, url)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'stored', ?7, ?8)"
	    " ON CONFLICT (cache, key) DO NOTHING",
	/* A reference that is no path comes out with NULL. */
	[ST_CLOSURE] =
	    "WITH RECURSIVE closure (hash_part) AS (SELECT ?2 UNION"
	    " SELECT r.ref FROM closure AS c CROSS JOIN reference AS r"
	    "  ON r.cache = ?1 AND r.hash_part = c.hash_part)"
	    " SELECT c.hash_part, p.nar_size FROM closure AS c"
	    " LEFT JOIN path AS p"
	    "  ON p.cache = ?1 AND p.hash_part = c.hash_part ORDER BY 1",
	[ST_META_GET] = "SELECT value FROM meta WHERE name = ?1",
	[ST_META_SET] = "INSERT INTO meta (name, value) VALUES (?1, ?2)"
			" ON CONFLICT (name) DO UPDATE SET value = ?2",

	/* These say what could go; ST_CLAIM_ID says so again when it goes. */
	[ST_CLAIM_OBJECT] =
	    "SELECT id, next_attempt, 1 FROM asset WHERE " SPOOLED_OBJECT
	    " AND next_attempt <= ?2 AND (next_attempt, id) > (?3, ?4)"
	    " ORDER BY next_attempt, id",
	[ST_CLAIM_NARINFO] =
	    "SELECT id, next_attempt, " NARINFO_MAY_GO " FROM asset AS a"
	    " WHERE " SPOOLED_NARINFO
	    " AND next_attempt <= ?2 AND (next_attempt, id) > (?3, ?4)"
	    " ORDER BY next_attempt, id",
	[ST_CLAIM_NEW] =
	    "SELECT id, next_attempt, " NARINFO_MAY_GO " FROM asset AS a"
	    " WHERE id > ?4 AND +cache = ?1 AND +state = 'spooled'"
	    " AND hash_part IS NOT NULL AND next_attempt <= ?2"
	    " AND ?3 IS NOT NULL ORDER BY id",
	[ST_NEWEST] = "SELECT coalesce(max(id), 0) FROM asset",
	/* ?2 is stored now: of those that wait for it, ?3. */
	[ST_FREED_BY_NAR] =
	    "SELECT a.id FROM (SELECT hash_part FROM path WHERE cache = ?1"
	    "  AND nar_key = (SELECT key FROM asset WHERE id = ?2)"
	    "  LIMIT ?3) AS w"
	    " CROSS JOIN asset AS a ON a.cache = ?1"
	    "  AND a.key = w.hash_part || '.narinfo'"
	    " WHERE a.state = 'spooled'",
	[ST_FREED_BY_NARINFO] =
	    "SELECT a.id FROM (SELECT hash_part FROM reference"
	    "  WHERE cache = ?1"
	    "  AND ref = (SELECT hash_part FROM asset WHERE id = ?2)"
	    "  LIMIT ?3) AS w"
	    " CROSS JOIN asset AS a ON a.cache = ?1"
	    "  AND a.key = w.hash_part || '.narinfo'"
	    " WHERE a.state = 'spooled'",
	[ST_CLAIM_KEY] = "SELECT id FROM asset AS a"
			 " WHERE cache = ?1 AND key = ?3 AND state = 'spooled'"
			 " AND next_attempt <= ?2"
			 " AND (hash_part IS NULL OR " NARINFO_MAY_GO ")",
	/* ?4: the narinfos it references wait for it. */
	[ST_CLAIM_ID] = "SELECT " ASSET_COLUMNS " FROM asset AS a"
			" WHERE id = ?3 AND +cache = ?1 AND state = 'spooled'"
			" AND next_attempt <= ?2 AND (hash_part IS NULL OR"
			" (" NAR_STORED " AND (?4 OR " REFERENCES_STORED ")))",
	/*
	 * Narinfos that could go but for others that they reference, and those
	 * others.  (CROSS JOIN is SQLite's way to say: from what was found on,
	 * instead of through all references there are.)
	 */
	[ST_WAITING_EDGES] =
	    "SELECT a.id, m.id FROM asset AS a"
	    " CROSS JOIN path AS p ON p.cache = ?1"
	    "  AND p.hash_part = a.hash_part"
	    " CROSS JOIN asset AS n ON n.cache = ?1 AND n.key = p.nar_key"
	    " CROSS JOIN reference AS r ON r.cache = ?1"
	    "  AND r.hash_part = a.hash_part"
	    " CROSS JOIN asset AS m ON m.cache = ?1"
	    "  AND m.key = r.ref || '.narinfo'"
	    " WHERE a.state = 'spooled' AND a.state <> 'stored'"
	    " AND +a.cache = ?1 AND (a.hash_part IS NULL) = 0"
	    " AND a.next_attempt <= ?2 AND n.state = 'stored'"
	    " AND r.ref <> a.hash_part AND m.state <> 'stored'",
	[ST_CLAIM_DUE] =
	    "SELECT 1 FROM asset WHERE " SPOOLED_ANY " AND next_attempt <= ?2"
	    " UNION ALL SELECT 1 FROM asset WHERE " RELAYING
	    " AND +cache = ?1 AND " LEASE_OVER " LIMIT 1",
	[ST_CLAIM_SET] = "UPDATE asset SET state = 'relaying', owner = ?2,"
			 " lease = ?3, attempts = attempts + 1 WHERE id = ?1",
	[ST_STORED] =
	    "UPDATE asset SET state = 'stored', spool = NULL, url = ?4,"
	    " owner = NULL, lease = 0, last_error = NULL"
	    " WHERE id = ?1 AND state = 'relaying' AND owner = ?2"
	    " AND sha256 = ?3",
	[ST_UNCLAIM] = "UPDATE asset SET state = ?4, owner = NULL, lease = 0,"
		       " last_error = ?5, next_attempt = ?6"
		       " WHERE id = ?1 AND state = 'relaying' AND owner = ?2"
		       " AND sha256 = ?3",
	[ST_UNCLAIM_REPLACED] =
	    "UPDATE asset SET state = 'spooled', owner = NULL, lease = 0"
	    " WHERE id = ?1 AND state = 'relaying' AND owner = ?2",
	[ST_AHEAD] = "SELECT 1 FROM asset WHERE " SPOOLED_ANY
		     " AND next_attempt > ?2 LIMIT 1",
	/* Some at a time: there may be very many. */
	[ST_RECALL] =
	    "UPDATE asset SET next_attempt = ?2 WHERE id IN (SELECT id"
	    " FROM asset WHERE " SPOOLED_ANY " AND next_attempt > ?3"
	    " LIMIT ?4)",
	[ST_EXPIRED] = "SELECT 1 FROM asset WHERE " RELAYING
		       " AND +cache = ?1 AND " LEASE_OVER " LIMIT 1",
	[ST_EXPIRE] =
	    "UPDATE asset SET state = 'spooled', owner = NULL,"
	    " lease = 0 WHERE " RELAYING " AND +cache = ?1 AND " LEASE_OVER,
	[ST_RELEASE] = "UPDATE asset SET state = 'spooled', owner = NULL,"
		       " lease = 0 WHERE " RELAYING " AND owner = ?1",
	[ST_RENEW] =
	    "UPDATE asset SET lease = ?2 WHERE " RELAYING " AND owner = ?1",
	[ST_RETRY] = "UPDATE asset SET state = 'spooled', attempts = 0,"
		     " next_attempt = 0 WHERE " NOT_STORED " AND missing = 0"
		     " AND (state = 'failed' OR"
		     "  (state = 'spooled' AND next_attempt > 0))",
	[ST_RETRY_KEY] = "UPDATE asset SET state = 'spooled', attempts = 0,"
			 " next_attempt = 0 WHERE cache = ?1 AND key = ?2"
			 " AND state IN ('failed', 'spooled')"
			 " AND missing = 0",
	[ST_SPOOL_BYTES] = "SELECT coalesce(sum(in_spool), 0) FROM total",
	[ST_ASSET_ERROR] =
	    "SELECT last_error FROM asset WHERE cache = ?1 AND key = ?2",
	[ST_WAITING_EACH] =
	    "SELECT key, state, next_attempt, substr(last_error, 1, 255)"
	    " FROM asset WHERE " NOT_STORED
	    " ORDER BY state = 'failed' DESC, next_attempt, id LIMIT ?2",
	[ST_SPOOL_USED] = "SELECT 1 FROM asset WHERE spool = ?1",
	[ST_SPOOL_FIND] = "SELECT sha256, size FROM asset WHERE spool = ?1",
	[ST_SPOOL_AGAIN] = "UPDATE asset SET state = 'spooled', attempts = 0,"
			   " next_attempt = 0, last_error = NULL, missing = 0"
			   " WHERE spool = ?1 AND state = 'failed'",
	/* A NAR's key begins with its digest. */
	[ST_NAR_STORED] =
	    "SELECT 1 FROM asset WHERE cache = ?1 AND key >= ?2 AND key < ?3"
	    " AND sha256 = ?4 AND size = ?5 AND state = 'stored'",

	[ST_STATUS_TOTAL] =
	    "SELECT what, count, bytes FROM total WHERE cache = ?1",
	[ST_STATUS_UNSIGNED] =
	    "SELECT count(*) FROM path INDEXED BY path_unsigned"
	    " WHERE cache = ?1 AND " UNSIGNED,
	[ST_STATUS_OLDEST] = "SELECT min(created) FROM asset WHERE " NOT_STORED,
	[ST_STATUS_ERROR] = "SELECT substr(last_error, 1, 255), key FROM asset"
			    " WHERE " NOT_STORED " AND last_error IS NOT NULL"
			    " ORDER BY state = 'failed' DESC, id DESC LIMIT 1",

	[ST_TOKEN_INSERT] =
	    "INSERT INTO token (name, secret, scopes, created, expires, keys,"
	    " quota_day, quota_total, cost_since)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?4)"
	    " ON CONFLICT DO NOTHING",
	[ST_TOKEN_DELETE] = "DELETE FROM token WHERE name = ?1",
	[ST_TOKEN_FIND] =
	    "SELECT " TOKEN_COLUMNS " FROM token WHERE secret = ?1",
	[ST_TOKEN_USED] = "UPDATE token SET last_used = ?2,"
			  " unpacked = unpacked + ?3, cpu_us = cpu_us + ?4"
			  " WHERE name = ?1",
	[ST_TOKEN_COST] = "UPDATE token SET unpacked = unpacked + ?2,"
			  " cpu_us = cpu_us + ?3 WHERE name = ?1",
	[ST_TOKEN_EACH] = "SELECT " TOKEN_COLUMNS " FROM token ORDER BY name",
	/* No row when a quota is in the way. */
	[ST_TOKEN_COUNT] =
	    "UPDATE token SET used_total = used_total + ?2, used_day ="
	    " ?2 + CASE WHEN day = ?3 THEN used_day ELSE 0 END, day = ?3"
	    " WHERE name = ?1"
	    " AND (quota_total = 0 OR used_total + ?2 <= quota_total)"
	    " AND (quota_day = 0 OR"
	    "  ?2 + CASE WHEN day = ?3 THEN used_day ELSE 0 END <= quota_day)"
	    " RETURNING 1",
	[ST_PUSHER_NAME] = "SELECT name FROM pusher WHERE id = ?1",
	[ST_TOKEN_KNOWN] = "SELECT 1 FROM token WHERE name = ?1",

	[ST_NAR_PUT] =
	    "INSERT OR REPLACE INTO nar (cache, key, verdict, why, compression,"
	    " nar_hash, nar_size, file_hash, refs, refs_complete, listing,"
	    " checked, over, over_limit)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
	    " ?14)",
	[ST_NAR_GET] =
	    "SELECT verdict, why, compression, nar_hash, nar_size, file_hash,"
	    " refs, refs_complete, over, over_limit FROM nar WHERE cache = ?1 "
	    "AND key = ?2",
	[ST_HASH_PARTS] = "SELECT id, hash_part FROM asset WHERE id > ?2"
			  " AND hash_part IS NOT NULL AND +cache = ?1"
			  " ORDER BY id",
	[ST_LISTING_GET] =
	    "SELECT n.listing FROM path AS p JOIN nar AS n"
	    " ON n.cache = p.cache AND n.key = p.nar_key"
	    " WHERE p.cache = ?1 AND p.hash_part = ?2"
	    " AND n.nar_hash = p.nar_hash AND n.listing IS NOT NULL",
	[ST_PATH_KNOWN] =
	    "SELECT 1 FROM path WHERE cache = ?1 AND hash_part = ?2",
	[ST_PATH_UNSIGNED] = "SELECT 1 FROM path WHERE cache = ?1"
			     " AND hash_part = ?2 AND " UNSIGNED,
	[ST_PATH_NEXT] =
	    "SELECT p.hash_part, p.narinfo, n.verdict IS 0"
	    "  AND n.nar_hash = p.nar_hash AND n.nar_size = p.nar_size,"
	    " a.sha256 FROM path AS p LEFT JOIN nar AS n"
	    " ON n.cache = p.cache AND n.key = p.nar_key"
	    " LEFT JOIN asset AS a"
	    " ON a.cache = p.cache AND a.key = p.hash_part || '.narinfo'"
	    " WHERE p.cache = ?1 AND p.hash_part > ?2"
	    " ORDER BY p.hash_part LIMIT 1",
	[ST_AUDIT_INSERT] =
	    "INSERT INTO audit (time, cache, key, token, address, size, what)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	/* Unless there is such a row since ?8. */
	[ST_AUDIT_SAME] =
	    "INSERT INTO audit (time, cache, key, token, address, size, what)"
	    " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS ("
	    "SELECT 1 FROM audit WHERE what = 'same' AND token = ?4"
	    " AND cache = ?2 AND key = ?3 AND time >= ?8) RETURNING 1",
	[ST_AUDIT_EACH] =
	    "SELECT time, cache, key, token, address, size, what FROM ("
	    "SELECT * FROM audit WHERE time >= ?1"
	    " ORDER BY id DESC LIMIT ?2) ORDER BY id",
	[ST_AUDIT_TOKEN] =
	    "SELECT time, cache, key, token, address, size, what FROM ("
	    "SELECT * FROM audit WHERE time >= ?1 AND token = ?3"
	    " ORDER BY id DESC LIMIT ?2) ORDER BY id",

	[ST_CHECK_FILE] = "PRAGMA quick_check",
	[ST_CHECK_QUICK] = "PRAGMA quick_check(1)",
	[ST_CHECK_FOREIGN] = "PRAGMA foreign_key_check",
	/* Totals that are not what is there, by what should be there. */
	[ST_CHECK_TOTAL] =
	    "WITH counted AS (SELECT cache, state AS what, count(*) AS n,"
	    "  sum(size) AS bytes,"
	    "  coalesce(sum(size) FILTER (WHERE spool IS NOT NULL), 0) AS spool"
	    "  FROM asset GROUP BY cache, state UNION ALL"
	    " SELECT cache, 'path', count(*), sum(nar_size), 0 FROM path"
	    "  GROUP BY cache)"
	    " SELECT cache, what FROM (SELECT * FROM counted EXCEPT"
	    "  SELECT * FROM total) UNION"
	    " SELECT cache, what FROM (SELECT * FROM total"
	    "  WHERE count <> 0 OR bytes <> 0 OR in_spool <> 0 EXCEPT"
	    "  SELECT * FROM counted)",
	[ST_CHECK_ASSET] =
	    "SELECT " ASSET_COLUMNS ", coalesce(owner, ''), lease,"
	    " next_attempt, missing, hash_part IS NOT NULL FROM asset"
	    " WHERE cache = ?1 AND key > ?2 ORDER BY key LIMIT 1",
	/* A path with its narinfo's asset, its NAR's and the verdict on that.
	 */
	[ST_CHECK_PATH] =
	    "SELECT p.hash_part, p.narinfo, p.store_path, p.nar_key,"
	    " p.nar_hash, p.nar_size, p.file_size, a.size, a.sha256, n.size,"
	    " n.missing, a.state IS 'stored', v.verdict, v.nar_hash, "
	    "v.nar_size,"
	    " a.spoiled"
	    " FROM path AS p"
	    " LEFT JOIN asset AS a ON a.cache = p.cache"
	    "  AND a.key = p.hash_part || '.narinfo'"
	    " LEFT JOIN asset AS n ON n.cache = p.cache AND n.key = p.nar_key"
	    " LEFT JOIN nar AS v ON v.cache = p.cache AND v.key = p.nar_key"
	    " WHERE p.cache = ?1 AND p.hash_part > ?2"
	    " ORDER BY p.hash_part LIMIT 1",
	[ST_CHECK_REFERENCE] =
	    "SELECT r.ref, p.hash_part IS NOT NULL FROM reference AS r"
	    " LEFT JOIN path AS p ON p.cache = r.cache AND p.hash_part = r.ref"
	    " WHERE r.cache = ?1 AND r.hash_part = ?2 ORDER BY r.ref",
	[ST_CHECK_NAR_PATH] =
	    "SELECT hash_part FROM path WHERE cache = ?1 AND nar_key = ?2"
	    " AND hash_part > ?3 ORDER BY hash_part LIMIT 1",
	[ST_LOST_SET] =
	    "UPDATE asset SET state = 'failed', spool = NULL, url = NULL,"
	    " owner = NULL, lease = 0, missing = ?4, last_error = ?5"
	    " WHERE id = ?1 AND sha256 = ?2 AND spool IS ?3",
	[ST_LOST_COUNT] = "SELECT count(*) FROM asset INDEXED BY asset_missing"
			  " WHERE cache = ?1 AND missing <> 0",
	[ST_LOST_PATH] = "SELECT 1 FROM path AS p JOIN asset AS n"
			 " ON n.cache = p.cache AND n.key = p.nar_key"
			 " WHERE p.cache = ?1 AND p.hash_part = ?2"
			 " AND n.missing <> 0",
	[ST_AGAIN] =
	    "UPDATE asset SET state = ?3, owner = NULL, lease = 0,"
	    " attempts = 0, next_attempt = 0, last_error = NULL, missing = 0,"
	    " url = coalesce(?5, url)"
	    " WHERE cache = ?1 AND key = ?2 AND owner IS ?4",
	[ST_TOTAL_CLEAR] = "DELETE FROM total",
	[ST_TOTAL_ASSET] =
	    "INSERT INTO total SELECT cache, state, count(*), sum(size),"
	    " coalesce(sum(size) FILTER (WHERE spool IS NOT NULL), 0)"
	    " FROM asset GROUP BY cache, state",
	[ST_TOTAL_PATH] =
	    "INSERT INTO total SELECT cache, 'path', count(*), sum(nar_size), 0"
	    " FROM path GROUP BY cache",
	[ST_REFERENCE_DELETE] =
	    "DELETE FROM reference WHERE cache = ?1 AND hash_part = ?2",
	[ST_PATH_DELETE] =
	    "DELETE FROM path WHERE cache = ?1 AND hash_part = ?2",
	[ST_ASSET_DELETE] = "DELETE FROM asset WHERE cache = ?1 AND key = ?2",
	[ST_NAR_ORPHAN] =
	    "DELETE FROM nar WHERE NOT EXISTS (SELECT 1 FROM asset AS a"
	    " WHERE a.cache = nar.cache AND a.key = nar.key)",
	[ST_REALISATION_ORPHAN] =
	    "DELETE FROM realisation WHERE NOT EXISTS (SELECT 1 FROM asset AS a"
	    " WHERE a.cache = realisation.cache AND a.key = realisation.key)",
	[ST_REFERENCE_ORPHAN] =
	    "DELETE FROM reference WHERE NOT EXISTS (SELECT 1 FROM path AS p"
	    " WHERE p.cache = reference.cache"
	    " AND p.hash_part = reference.hash_part)",

	[ST_FSCK_GET] =
	    "SELECT options, sample, began, noted, complete, cache, phase, at,"
	    " objects, read, work, problems, repaired, unknown"
	    " FROM fsck WHERE kind = ?1",
	[ST_FSCK_PUT] = "INSERT OR REPLACE INTO fsck (kind, options, sample,"
			" began, noted, complete, cache, phase, at, objects,"
			" read, work, problems, repaired, unknown) VALUES (?1,"
			" ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
			" ?14, ?15)",
	[ST_FINDING_FORGET] =
	    "DELETE FROM finding WHERE cache = ?1 AND phase = ?2"
	    " AND (at > ?3 OR ?3 = '') AND (at <= ?4 OR ?4 IS NULL)"
	    " AND options & ~?5 = 0",
	[ST_FINDING_PUT] =
	    "INSERT OR REPLACE INTO finding (cache, phase, at, key, kind, what,"
	    " options, found) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"
	    " WHERE (SELECT count(*) FROM finding) < ?9",
	[ST_FINDING_EACH] =
	    "SELECT cache, phase, at, key, kind, what, options, found"
	    " FROM finding ORDER BY cache DESC, phase, at, key, kind LIMIT ?1",
};
