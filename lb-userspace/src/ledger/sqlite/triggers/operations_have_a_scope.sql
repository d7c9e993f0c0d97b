CREATE TRIGGER operations_have_a_scope BEFORE INSERT ON operations
WHEN NOT EXISTS (
    SELECT 1 FROM json_each(CAST(NEW.body AS TEXT), '$.scope')
    WHERE key <> 'kind' AND (type = 'text' AND length(atom) = 36 OR type = 'array' AND json_array_length(value) > 0))
  OR EXISTS (SELECT 1 FROM json_each(CAST(NEW.body AS TEXT), '$.scope') WHERE type = 'null' OR type = 'text' AND atom = '' OR type = 'array' AND json_array_length(value) = 0)
BEGIN SELECT RAISE(ABORT, 'an operation names what it may touch'); END
