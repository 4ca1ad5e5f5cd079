-- The scheme backup-key. Users are named as the integrator names them: they need no account here. No private key and no
-- plaintext of recovery material is here; the enclave alone opens what `key_backup_parts` holds.

create table backup_keys (
  id uuid primary key,
  project uuid not null references projects,
  user_identifier text not null,
  key_type text not null check (key_type in ('secp256k1', 'ed25519', 'rsa4096')),
  key_environment text not null check (key_environment in ('HOT', 'COLD')),
  public_key bytea not null,
  customer_id text,
  customer_name text,
  package_id text,
  package_name text,
  -- Depth 0, of this public key: what the enclave compares stored chain codes with.
  xpub text,
  outcome text not null default 'not_checked',
  checked_at timestamptz,
  proven_at timestamptz,
  created_at timestamptz not null,
  unique (project, id)
);
create index backup_keys_by_project on backup_keys (project, id);
create index backup_keys_by_public_key on backup_keys (project, public_key);
create unique index backup_keys_of_customer on backup_keys (project, user_identifier, customer_id, key_type)
  where customer_id is not null;

-- Recovery material, encrypted by its owner.
create table key_backups (
  id uuid primary key,
  project uuid not null references projects,
  backup_type text not null check (backup_type in ('data', 'file')),
  -- Null when no key of the project has the public key that was named.
  key_id uuid,
  public_key bytea,
  -- SHA-256: of the plaintext for data, of what was stored for files.
  checksum bytea check (length(checksum) = 32),
  size integer not null,
  encryption_key integer not null,
  description text,
  content_type text,
  original_filename text,
  outcome text not null default 'not_checked',
  checked_at timestamptz,
  proven_at timestamptz,
  created_at timestamptz not null,
  foreign key (project, key_id) references backup_keys (project, id),
  unique (project, id)
);
create index key_backups_by_project on key_backups (project, id);

-- In parts of half a MiB, so that no row is larger than a backup of the database reads at once.
create table key_backup_parts (
  project uuid not null,
  key_backup uuid not null,
  part integer not null,
  bytes bytea not null,
  primary key (key_backup, part),
  foreign key (project, key_backup) references key_backups (project, id)
);
