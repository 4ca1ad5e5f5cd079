-- Keys of the scheme backup-key, and the enclave's own keys for encrypted recovery material: all in rows of one size,
-- found by HMACs. `outer_wrap` is the data key of the payload under the server key; a rotation touches nothing else.
create table backup_keys (
  id uuid primary key,
  lookup bytea not null unique,
  server_key integer not null,
  outer_wrap bytea not null,
  payload bytea not null
);

create index backup_keys_by_server_key on backup_keys (server_key, id);
