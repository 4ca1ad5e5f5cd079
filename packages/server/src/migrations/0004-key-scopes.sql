-- What a secret key may do. Null: all that secret keys may, as those from before.

alter table api_keys add column scopes text[] check (scopes is null or (kind = 'secret' and cardinality(scopes) > 0));
