CREATE TRIGGER operations_are_accounted_for AFTER INSERT ON operations
BEGIN
  INSERT INTO removals
    SELECT NEW.generation, unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at')), 
      coalesce('token:' || json_extract(CAST(NEW.body AS TEXT), '$.actor.token'), 'agent:' || json_extract(CAST(NEW.body AS TEXT), '$.actor.name')), count
    FROM (SELECT count(*) AS count FROM json_each(CAST(NEW.body AS TEXT), '$.changes')
    WHERE json_extract(value, '$.after.kind') = 'lb'
      AND json_extract(value, '$.after.document.times.deleted_at') IS NOT NULL
      AND json_extract(value, '$.before.document.times.deleted_at') IS NULL) WHERE count > 0 AND NOT EXISTS (SELECT 1 FROM measures WHERE id = json_extract(CAST(NEW.body AS TEXT), '$.plan') AND approved = 1);
  DELETE FROM removals WHERE at < unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at')) - 86400;
  INSERT OR REPLACE INTO measures
    SELECT json_extract(value, '$.after.document.id'),
      json_extract(value, '$.after.document.what.kind'),
      CASE json_extract(value, '$.after.document.what.place.kind')
        WHEN 'zone' THEN 'zone'
        WHEN 'actor' THEN 'actor ' || json_extract(value, '$.after.document.what.place.id')
        ELSE coalesce(json_extract(value, '$.after.document.what.place.project'),
          json_extract(value, '$.after.document.what.place.organization'),
          json_extract(value, '$.after.document.what.place.lb'), '') END,
      coalesce(json_extract(value, '$.after.document.what.verb'), ''),
      unixepoch(json_extract(value, '$.after.document.times.created_at')),
      CASE WHEN json_extract(value, '$.after.document.times.deleted_at') IS NOT NULL
          OR json_extract(value, '$.after.document.what.kind') = 'purge' AND json_extract(value, '$.after.document.what.applied_at') IS NOT NULL THEN 0
        ELSE coalesce(unixepoch(json_extract(value, '$.after.document.expires_at')), 9223372036854775807) END,
      coalesce(json_extract(value, '$.after.document.what.approved_by.id') <> json_extract(value, '$.after.document.by.id')
        AND json_extract(value, '$.after.document.what.applied_at') IS NULL, 0),
      json_extract(CAST(NEW.body AS TEXT), '$.actor.reach.kind') <> 'fleet'
    FROM json_each(CAST(NEW.body AS TEXT), '$.changes') WHERE json_extract(value, '$.after.kind') = 'measure';
END
