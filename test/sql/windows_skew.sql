-- Windows over keys of which one has half of the rows, and NULLs a tenth; hot(k, v) and
-- cold(k, w). What is printed is small, but each row's value counts in it. Values of o are
-- there many times, a few are NULL: where the answer depends on which of equal rows comes
-- first, only what doesn't is asked.
SELECT count(*), max(r), sum(hash(k, v, r) % 1000003) FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM hot);
SELECT count(*), max(r), sum(hash(k, v, r) % 1000003) FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS r FROM hot);
SELECT count(*), sum(r), max(r) FROM (SELECT row_number() OVER (PARTITION BY k ORDER BY nullif(v % 100, 7)) AS r FROM hot);
SELECT k, count(DISTINCT r), min(r), max(r) FROM (SELECT k, row_number() OVER (PARTITION BY k) AS r FROM hot) GROUP BY k HAVING count(*) > 1000 ORDER BY k;
SELECT sum(hash(k, o, r, d, c) % 1000003), sum(p) FROM (SELECT k, o, rank() OVER w AS r, dense_rank() OVER w AS d, round(percent_rank() OVER w, 6) AS p, round(cume_dist() OVER w, 6) AS c FROM (SELECT k, nullif(v % 100, 7) AS o FROM hot) WINDOW w AS (PARTITION BY k ORDER BY o));
SELECT sum(hash(k, o, r, d, c) % 1000003), sum(p) FROM (SELECT k, o, rank() OVER w AS r, dense_rank() OVER w AS d, round(percent_rank() OVER w, 6) AS p, round(cume_dist() OVER w, 6) AS c FROM (SELECT k, nullif(v % 100, 7) AS o FROM hot) WINDOW w AS (PARTITION BY k ORDER BY o DESC NULLS FIRST));
SELECT sum(hash(k, o, r, d) % 1000003) FROM (SELECT k, o, rank() OVER w AS r, dense_rank() OVER w AS d FROM (SELECT k, nullif(v % 100, 7) AS o FROM hot) WINDOW w AS (PARTITION BY k ORDER BY o ASC NULLS FIRST));
SELECT sum(hash(k, v, a) % 1000003), sum(hash(k, v, b) % 1000003), sum(hash(k, v, c) % 1000003) FROM (SELECT k, v, ntile(7) OVER w AS a, ntile(1000) OVER w AS b, ntile(300000) OVER w AS c FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(k, v, a, b) % 1000003), sum(hash(k, v, c, d) % 1000003), sum(hash(k, v, e) % 1000003), count(f) FROM (SELECT k, v, lag(v) OVER w AS a, lead(v) OVER w AS b, lag(v, 3, -v) OVER w AS c, lead(v + 1, 60, v // 2) OVER w AS d, lag(v, 0) OVER w AS e, lag(NULL::INTEGER, 2, 5) OVER w AS f FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(k, v, a) % 1000003), sum(hash(k, v, b) % 1000003) FROM (SELECT k, v, lag(nullif(v % 10, 3), 2, 99) OVER w AS a, lead(v::VARCHAR || k::VARCHAR, 5, 'none') OVER w AS b FROM hot WINDOW w AS (PARTITION BY k ORDER BY v DESC));
SELECT sum(hash(k, v, a, b) % 1000003), sum(hash(k, v, c, d) % 1000003) FROM (SELECT k, v, first_value(v) OVER w AS a, last_value(v) OVER w AS b, first_value(nullif(v % 3, 0)) OVER w AS c, last_value(v) OVER (PARTITION BY k ORDER BY v ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS d FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(k, v, a, b) % 1000003) FROM (SELECT k, v, first_value(v) OVER w AS a, last_value(v::VARCHAR) OVER w AS b FROM hot WINDOW w AS (PARTITION BY k ORDER BY v ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING));
SELECT sum(hash(k, v, s, c, n) % 1000003), sum(hash(k, v, x, y) % 1000003), sum(round(m, 4)) FROM (SELECT k, v, sum(v) OVER w AS s, count(*) OVER w AS c, count(nullif(v % 5, 2)) OVER w AS n, min(v) OVER w AS x, max((v * 7919) % 100003) OVER w AS y, avg(v) OVER w AS m FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(k, o, s, c, n) % 1000003), sum(hash(k, o, x, y) % 1000003), sum(round(m, 4)) FROM (SELECT k, o, sum(v) OVER w AS s, count(*) OVER w AS c, count(nullif(v % 5, 2)) OVER w AS n, min(v) OVER w AS x, max((v * 7919) % 100003) OVER w AS y, avg(v) OVER w AS m FROM (SELECT k, nullif(v % 100, 7) AS o, v FROM hot) WINDOW w AS (PARTITION BY k ORDER BY o DESC));
SELECT sum(hash(k, v, s, c) % 1000003), sum(hash(k, v, x, y) % 1000003) FROM (SELECT k, v, sum(v) OVER w AS s, count(*) OVER w AS c, min(v) OVER w AS x, max((v * 7919) % 100003) OVER w AS y FROM hot WINDOW w AS (PARTITION BY k ORDER BY v ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW));
SELECT sum(hash(k, v, s, c) % 1000003), sum(hash(k, v, x, y) % 1000003) FROM (SELECT k, v, sum(v) OVER w AS s, count(*) OVER w AS c, min((v * 7919) % 100003) OVER w AS x, max(v) OVER w AS y FROM hot WINDOW w AS (PARTITION BY k ORDER BY v ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING));
SELECT sum(hash(k, o, s, c) % 1000003) FROM (SELECT k, o, sum(v) OVER w AS s, count(*) OVER w AS c FROM (SELECT k, nullif(v % 100, 7) AS o, v FROM hot) WINDOW w AS (PARTITION BY k ORDER BY o GROUPS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING));
SELECT sum(hash(k, v, s, c) % 1000003), sum(hash(k, v, x, y) % 1000003), sum(round(m, 4)) FROM (SELECT k, v, sum(v) OVER w AS s, count(*) OVER w AS c, min(v) OVER w AS x, max(v::VARCHAR) OVER w AS y, avg(v) OVER w AS m FROM hot WINDOW w AS (PARTITION BY k));
SELECT sum(hash(k, v, s, d, i) % 1000003), sum(round(f, 2)) FROM (SELECT k, v, sum(v) FILTER (WHERE v % 3 = 1) OVER w AS s, sum((v / 100)::DECIMAL(12, 2)) OVER w AS d, sum((v % 1000)::SMALLINT) OVER w AS i, sum(v / 3) OVER w AS f FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(k, v, a, b) % 1000003), sum(hash(k, v, c, d, e) % 1000003) FROM (SELECT k, v, bool_and(v % 1000 <> 999) OVER w AS a, bool_or(v % 1000 = 999) OVER w AS b, bit_or(v) OVER w AS c, bit_and(v + 1048576) OVER w AS d, bit_xor(v) OVER w AS e FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(k, v, r, s, l, t) % 1000003), sum(round(m, 4)) FROM (SELECT k, v, row_number() OVER w AS r, sum(v) OVER w AS s, lag(v) OVER w AS l, sum(v) OVER (PARTITION BY k) AS t, avg(v) OVER (PARTITION BY k) AS m FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
-- Rows of equal keys come in the same order in each window of a block.
WITH w AS (SELECT k, v, row_number() OVER o AS r, lag(v) OVER o AS l, lead(v, 2) OVER o AS m, first_value(v) OVER o AS f, sum(v) OVER (PARTITION BY k ORDER BY v % 3 ROWS UNBOUNDED PRECEDING) AS s FROM hot WHERE k < 100 OR k IS NULL WINDOW o AS (PARTITION BY k ORDER BY v % 3)) SELECT count(*), sum((a.l IS DISTINCT FROM b.v)::INTEGER), sum((c.v IS DISTINCT FROM a.m)::INTEGER), sum((a.r = 1 AND a.f <> a.v)::INTEGER), sum((a.s IS DISTINCT FROM coalesce(b.s, 0) + a.v)::INTEGER) FROM w a LEFT JOIN w b ON a.k IS NOT DISTINCT FROM b.k AND b.r = a.r - 1 LEFT JOIN w c ON a.k IS NOT DISTINCT FROM c.k AND c.r = a.r + 2;
-- One key has all of a partition's rows.
SELECT sum(hash(k, r, d, s) % 1000003) FROM (SELECT k, rank() OVER w AS r, dense_rank() OVER w AS d, sum(v) OVER w AS s FROM (SELECT k, 1 + v // 1000000 AS o, v FROM hot) WINDOW w AS (PARTITION BY k ORDER BY o));
SELECT sum(r), max(r), sum(c) FROM (SELECT row_number() OVER w AS r, count(*) OVER w AS c FROM hot WHERE k = 3 WINDOW w AS (PARTITION BY k ORDER BY v // 1000000 ROWS UNBOUNDED PRECEDING));
-- Text keys, several keys, expressions, a key inside the key that rows are hashed by.
SELECT count(*), sum(hash(t, v, r, s) % 1000003) FROM (SELECT t, v, row_number() OVER w AS r, sum(v) OVER w AS s FROM (SELECT 'key ' || k AS t, v FROM hot) WINDOW w AS (PARTITION BY t ORDER BY v::VARCHAR));
SELECT sum(hash(k, v, r, l) % 1000003) FROM (SELECT k, v, row_number() OVER w AS r, lag(v) OVER w AS l FROM hot WINDOW w AS (PARTITION BY k, v % 3 ORDER BY v % 1000, v));
SELECT sum(hash(k, v, r, l) % 1000003) FROM (SELECT k, v, rank() OVER w AS r, lead(v) OVER w AS l FROM hot WINDOW w AS (PARTITION BY k % 5, k IS NULL ORDER BY v // 2, k, v));
SELECT sum(hash(v, r, s) % 1000003) FROM (SELECT v, row_number() OVER (PARTITION BY k, v % 2 ORDER BY v) AS r, sum(v) OVER (PARTITION BY k ORDER BY v) AS s FROM hot);
-- What is above and below.
SELECT k, v FROM hot QUALIFY row_number() OVER (PARTITION BY k ORDER BY v DESC) = 1 ORDER BY v DESC LIMIT 30;
SELECT count(*), sum(v), sum(r) FROM (SELECT v, rank() OVER (PARTITION BY k ORDER BY v // 10 DESC) AS r FROM hot QUALIFY r <= 25);
SELECT r, count(*), sum(v) FROM (SELECT v, least(row_number() OVER (PARTITION BY k ORDER BY v), 5) AS r FROM hot WHERE v % 3 <> 1) GROUP BY r ORDER BY r;
SELECT k, max(r), sum(s) FROM (SELECT k, row_number() OVER (PARTITION BY k ORDER BY v) AS r, sum(v) OVER (PARTITION BY k ORDER BY v) AS s FROM hot) GROUP BY k ORDER BY 2 DESC, 1 LIMIT 20;
SELECT count(*), sum(hash(k, v, w, r, s) % 1000003) FROM (SELECT hot.k, v, w, row_number() OVER o AS r, sum(w) OVER o AS s FROM hot JOIN cold ON hot.k = cold.k WINDOW o AS (PARTITION BY hot.k ORDER BY v, w));
SELECT count(*), sum(hash(k, v, w, r, s) % 1000003) FROM (SELECT hot.k, v, w, row_number() OVER o AS r, sum(w) OVER o AS s FROM hot LEFT JOIN cold ON hot.k = cold.k WINDOW o AS (PARTITION BY hot.k ORDER BY v, w));
SELECT count(*), sum(hash(a.k, v, w, r) % 1000003) FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM hot) a JOIN cold ON a.k = cold.k;
SELECT count(*), sum(hash(a.k, v, w, r) % 1000003) FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM hot) a FULL JOIN cold ON a.k = cold.k;
SELECT sum(hash(k, v, r, q) % 1000003) FROM (SELECT k, v, r, sum(r) OVER (PARTITION BY k ORDER BY r) AS q FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM hot));
SELECT sum(hash(v, a, b) % 1000003) FROM (SELECT v, row_number() OVER (PARTITION BY k ORDER BY v) AS a, row_number() OVER (PARTITION BY v % 10 ORDER BY v) AS b FROM hot);
SELECT k, v, r FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM hot) ORDER BY r DESC, v LIMIT 15;
SELECT count(*), sum(r) FROM (SELECT row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM hot WHERE v % 2 = 3);
-- These stay one task.
SELECT sum(hash(k, v, a, b) % 1000003) FROM (SELECT k, v, nth_value(v, 3) OVER w AS a, last_value(nullif(v % 2, 0) IGNORE NULLS) OVER w AS b FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(k, v, a, b, c) % 1000003) FROM (SELECT k, v, sum(v) OVER (PARTITION BY k ORDER BY v ROWS 3 PRECEDING) AS a, count(DISTINCT v % 7) OVER (PARTITION BY k) AS b, sum(v) OVER (PARTITION BY k ORDER BY v DESC) AS c FROM hot);
SELECT sum(hash(k, v, a, b) % 1000003) FROM (SELECT k, v, lag(v, 1000) OVER w AS a, lag(v, v % 5) OVER w AS b FROM hot WINDOW w AS (PARTITION BY k ORDER BY v));
SELECT sum(hash(i, v, r) % 1000003) FROM (SELECT i, v, row_number() OVER (PARTITION BY i ORDER BY v) AS r FROM (SELECT CASE WHEN v % 2 = 0 THEN INTERVAL '1 month' ELSE INTERVAL '30 days' END AS i, v FROM hot));
SELECT sum(hash(k, v, r) % 1000003) FROM (SELECT k, v, sum(v) OVER (PARTITION BY k ORDER BY to_days((v % 60)::INTEGER)) AS r FROM hot);
