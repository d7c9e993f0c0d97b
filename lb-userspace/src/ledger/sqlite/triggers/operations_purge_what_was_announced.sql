CREATE TRIGGER operations_purge_what_was_announced BEFORE INSERT ON operations
WHEN EXISTS (
    SELECT 1 FROM json_each(CAST(NEW.body AS TEXT), '$.changes')
    WHERE json_extract(value, '$.after.document.times.purged_at') IS NOT NULL)
  AND (NOT EXISTS (
      SELECT 1 FROM measures
      WHERE id = json_extract(CAST(NEW.body AS TEXT), '$.plan') AND kind = 'purge'
        AND until > unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at'))
        AND since <= unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at')) - 86400)
    OR EXISTS (
      SELECT 1 FROM json_each(CAST(NEW.body AS TEXT), '$.changes')
      WHERE json_extract(value, '$.after.document.times.purged_at') IS NOT NULL
        AND json_extract(value, '$.after.kind') NOT IN ('frontend', 'backend', 'acl')
        AND coalesce(unixepoch(json_extract(value, '$.before.document.times.deleted_at')), 9223372036854775807)
          > unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at')) - 86400)
    OR (SELECT count(*) FROM json_each(CAST(NEW.body AS TEXT), '$.changes')
      WHERE json_extract(value, '$.after.document.times.purged_at') IS NOT NULL
        AND json_extract(value, '$.after.kind') = 'lb') > 100)
BEGIN SELECT RAISE(ABORT, 'only what was deleted, and announced for a day, is purged, a hundred load balancers at a time'); END
