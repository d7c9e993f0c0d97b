CREATE TRIGGER operations_stop_while_frozen BEFORE INSERT ON operations
WHEN EXISTS (
    SELECT 1 FROM measures
    WHERE kind = 'freeze'
      AND until > unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at'))
      AND NOT (tenants = 1 AND json_extract(CAST(NEW.body AS TEXT), '$.actor.token') IS NOT NULL
        AND json_extract(CAST(NEW.body AS TEXT), '$.actor.role') IN ('operator', 'trust-safety'))
      AND verb IN ('', json_extract(CAST(NEW.body AS TEXT), '$.verb'))
      AND (place IN ('zone', 'actor ' || coalesce('token:' || json_extract(CAST(NEW.body AS TEXT), '$.actor.token'), 'agent:' || json_extract(CAST(NEW.body AS TEXT), '$.actor.name')))
        OR place IN (SELECT atom FROM json_tree(CAST(NEW.body AS TEXT), '$.scope') WHERE type = 'text')
        OR place IN (SELECT json_extract(value, '$.after.document.owner.project') FROM json_each(CAST(NEW.body AS TEXT), '$.changes'))
        OR place IN (SELECT json_extract(value, '$.after.document.owner.organization') FROM json_each(CAST(NEW.body AS TEXT), '$.changes'))
        OR place IN (SELECT json_extract(value, '$.after.document.id') FROM json_each(CAST(NEW.body AS TEXT), '$.changes'))))
  AND EXISTS (SELECT 1 FROM json_each(CAST(NEW.body AS TEXT), '$.changes') WHERE json_extract(value, '$.after.kind') NOT IN ('measure', 'token', 'nat_source'))
BEGIN SELECT RAISE(ABORT, 'a freeze is in force'); END
