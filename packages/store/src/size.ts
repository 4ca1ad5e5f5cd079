/**
 * How large the tables of this database are, asked the same way of both engines by their `sizeBytes()`.
 * Counts rows, indexes and out-of-line values of every table that is ours; never PostgreSQL's own catalogue.
 */
export const sizeBytesSql = `
  select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint as bytes
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'`;
