-- SPDX-License-Identifier: MIT
-- Work for sqlite3: a database is built, indexed, queried, changed and vacuumed. The answers are always the same.
PRAGMA cache_size = 20000;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL, body BLOB);
CREATE TABLE sale(id INTEGER PRIMARY KEY, item INTEGER REFERENCES item(id), day INTEGER, amount INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
	INSERT INTO item SELECT i, printf('item %05d of %d', i * 7919 % 20011, i % 97), (i * 31 % 1000) / 10.0,
		zeroblob(i % 700) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
	INSERT INTO sale SELECT i, 1 + i * 7 % 20000, i * 13 % 365, i % 17, substr(hex(i * 104729), 1, i % 30) FROM n;
COMMIT;
CREATE INDEX sale_day ON sale(day, amount);
CREATE INDEX sale_item ON sale(item);
CREATE INDEX item_name ON item(name COLLATE NOCASE);
SELECT day, count(*), sum(amount), round(avg(price), 6) FROM sale JOIN item ON item.id = sale.item
	GROUP BY day ORDER BY sum(amount) DESC, day LIMIT 20;
SELECT substr(name, 1, 7), count(*), group_concat(DISTINCT amount) FROM item JOIN sale ON sale.item = item.id
	WHERE amount < 9 GROUP BY 1 ORDER BY 1 LIMIT 30;
SELECT id, name, rank() OVER (PARTITION BY id % 10 ORDER BY price DESC, id) AS place FROM item
	ORDER BY place, id LIMIT 30;
SELECT count(*) FROM sale a JOIN sale b ON a.item = b.item AND a.day < b.day WHERE a.item % 10 = 0;
SELECT length(group_concat(note, ',')) FROM sale;
UPDATE item SET body = zeroblob(length(body) * 3 % 5000), name = upper(name) WHERE id % 3 = 0;
DELETE FROM sale WHERE id % 5 = 0;
SELECT json_group_array(json_object('day', day, 'n', n)) FROM (SELECT day, count(*) AS n FROM sale GROUP BY day);
SELECT DISTINCT upper(substr(note, 1, 4)) FROM sale ORDER BY 1 LIMIT 50;
VACUUM;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
