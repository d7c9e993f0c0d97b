CREATE TRIGGER operations_keep_the_budget BEFORE INSERT ON operations
WHEN NOT EXISTS (SELECT 1 FROM measures WHERE id = json_extract(CAST(NEW.body AS TEXT), '$.plan') AND approved = 1)
  AND EXISTS (SELECT 1 FROM (SELECT count(*) AS count FROM json_each(CAST(NEW.body AS TEXT), '$.changes')
    WHERE json_extract(value, '$.after.kind') = 'lb'
      AND json_extract(value, '$.after.document.times.deleted_at') IS NOT NULL
      AND json_extract(value, '$.before.document.times.deleted_at') IS NULL)
    WHERE count > 10
      OR count > 0 AND count + (
        SELECT coalesce(sum(removed), 0) FROM removals
        WHERE at > unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at')) - 600) > 100
      OR count > 0 AND count + (
        SELECT coalesce(sum(removed), 0) FROM removals
        WHERE at > unixepoch(json_extract(CAST(NEW.body AS TEXT), '$.at')) - 600
          AND actor = coalesce('token:' || json_extract(CAST(NEW.body AS TEXT), '$.actor.token'), 'agent:' || json_extract(CAST(NEW.body AS TEXT), '$.actor.name'))) > 50)
BEGIN SELECT RAISE(ABORT, 'more load balancers would be removed than the budget allows without an approved plan'); END
