CREATE TRIGGER operations_delete_nothing BEFORE INSERT ON operations
WHEN coalesce(json_array_length(CAST(NEW.body AS TEXT), '$.changes'), 0) = 0
  OR EXISTS (
    SELECT 1 FROM json_each(CAST(NEW.body AS TEXT), '$.changes')
    WHERE json_extract(value, '$.after.document.times.created_at') IS NULL)
BEGIN SELECT RAISE(ABORT, 'a document has a successor or a tombstone, it is never taken away'); END
