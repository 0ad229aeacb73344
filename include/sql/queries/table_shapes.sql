-- One row per column of the public tables named: what the column is and its place in the primary key.
-- Parameters: tables.
WITH wanted AS (
    SELECT unnest(%(tables)s::TEXT[]) AS name
)

SELECT
    pg_class.relname AS table_name,
    pg_attribute.attname AS column_name,
    format_type(pg_attribute.atttypid, pg_attribute.atttypmod) AS type,
    pg_attribute.attnotnull
    AND NOT (pg_attribute.atthasdef OR pg_attribute.attidentity <> '') AS must_be_given,
    array_position(pg_index.indkey::INT2[], pg_attribute.attnum) AS key_position
FROM wanted
INNER JOIN pg_class ON wanted.name = pg_class.relname
INNER JOIN pg_attribute ON pg_class.oid = pg_attribute.attrelid
LEFT JOIN pg_index ON pg_class.oid = pg_index.indrelid AND pg_index.indisprimary
WHERE
    pg_class.relnamespace = 'public'::REGNAMESPACE
    AND pg_class.relkind NOT IN ('i', 'I', 'S')
    AND pg_attribute.attnum > 0
    AND NOT pg_attribute.attisdropped
ORDER BY pg_class.relname, pg_attribute.attnum;
