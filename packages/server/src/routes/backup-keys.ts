/**
 * Backup keys. `app.ts` binds these. The enclave makes and checks them; what passes here is public. Names of fields and
 * answers are those that integrations of the vendor's know. A check that couldn't be made is an outcome of its own: it
 * says nothing about the key, and overwrites nothing that is known of it.
 */
import { parseExtendedKey } from '@kedge/chains';
import {
  type BackupKeyId,
  bytesToHex,
  type CheckOutcome,
  equalBytes,
  errorEntry,
  KedgeError,
  type Parsed,
  type SignableField,
} from '@kedge/core';
import {
  type BackupKeyRow,
  findBackupKey,
  findBackupKeyOf,
  insertBackupKey,
  listBackupKeys,
  noteKeyCheck,
  registerXpub,
} from '../backup-key-store.ts';
import type { Handlers } from '../binding.ts';
import { signedView } from '../events.ts';
import type { PrincipalOf } from '../principal.ts';
import { bytesAt, RequestInvalid } from '../problems.ts';
import type { Services } from '../services.ts';
import { inProject, pageOf } from '../store.ts';
import { backupKeyView } from '../views.ts';

type Routes = Pick<
  Handlers,
  | 'createBackupKey'
  | 'listBackupKeys'
  | 'getBackupKey'
  | 'verifyBackupKey'
  | 'registerXpub'
  | 'reportBackupKey'
  | 'getEncryptionKey'
>;

const messages: { readonly [O in Exclude<CheckOutcome, 'not_checked'>]: string } = {
  passed: 'All passed: the enclave opened the key, signed with it, and the public key verified the signature.',
  attention:
    'Needs attention: the enclave could not open the key, or it is not the key of this public key. Keep the wallet’s other keys safe and ask the operator.',
  did_not_finish: 'Didn’t finish, on our side: this says nothing about the key. Check again later.',
  held_offline: 'Held offline: the key is sealed to officers, and only two of them together could use it.',
};

export function backupKeyRoutes(services: Services): Routes {
  const { db, enclave, clock } = services;

  return {
    async createBackupKey({ principal, body, resourceId, commit }) {
      const { project } = principal;
      const { user_identifier, key_type, key_environment, organisation, package: bought } = body;
      const signWith = body.sign_with === undefined ? null : signableOf(principal, body);
      const nonce = body.client_nonce === undefined ? null : nonceOf(body.client_nonce);
      const customer_id = organisation?.customer_id ?? null;
      if (
        customer_id !== null &&
        (await findBackupKeyOf(inProject(db, project), { user_identifier, customer_id, key_type }))
      )
        throw new KedgeError('conflict', 'That user of that organisation has a key of this type already.');
      const key = resourceId as BackupKeyId;
      const made = await enclave.createBackupKey({
        project,
        user: user_identifier,
        key,
        type: key_type,
        environment: key_environment,
        nonce,
        signWith,
      });
      const row: BackupKeyRow = {
        id: key,
        user_identifier,
        key_type,
        key_environment,
        public_key: made.publicKey,
        customer_id,
        customer_name: organisation?.customer_name ?? null,
        package_id: bought?.package_id ?? null,
        package_name: bought?.package_name ?? null,
        xpub: null,
        outcome: 'not_checked',
        checked_at: null,
        proven_at: null,
        created_at: new Date(clock.wallMs()),
      };
      return commit({
        happenings: [
          { type: 'backup_key.created', project, data: { key, key_type, key_environment }, receipt: made.receipt },
        ],
        next: async (tx) => {
          await insertBackupKey(inProject(tx, project), row);
          return {
            key_id: key,
            public_key: bytesToHex(made.publicKey),
            signature: Buffer.from(made.vendor.signature).toString('base64'),
            signed_payload: signWith === null ? null : made.vendor.payload,
            signed_fields: body.sign_with ?? [],
            customer_id,
            package_id: row.package_id,
            metadata: { key_type, key_environment, created_at: row.created_at.toISOString() },
            attestation: signedView(made.attestation),
          };
        },
      });
    },

    listBackupKeys: ({ principal, query }) =>
      pageOf(query, (before, limit) => listBackupKeys(inProject(db, principal.project), before, limit), backupKeyView),

    getBackupKey: async ({ principal, params }) =>
      backupKeyView(await getBackupKey(services, principal, params.key_id)),

    async verifyBackupKey({ principal, params, commit }) {
      const { project } = principal;
      const row = await getBackupKey(services, principal, params.key_id);
      const checked = await enclave
        .verifyBackupKey({ project, user: row.user_identifier, key: row.id, publicKey: row.public_key })
        .catch(nullIfOurs);
      if (checked === null)
        return { is_key_valid: null, outcome: 'did_not_finish' as const, message: messages.did_not_finish };
      const { outcome, receipt } = checked;
      return commit({
        happenings: [{ type: 'backup_key.verified', project, data: { key: row.id, outcome }, receipt }],
        next: async (tx) => {
          await noteKeyCheck(inProject(tx, project), row.id, outcome, new Date(clock.wallMs()));
          return { is_key_valid: validityOf(outcome), outcome, message: messages[outcome] };
        },
      });
    },

    async registerXpub({ principal, params, body, commit }) {
      const { project } = principal;
      const row = await getBackupKey(services, principal, params.key_id);
      assertXpubOf(row, body.xpub);
      return commit({
        happenings: [{ type: 'backup_key.xpub_registered', project, data: { key: row.id } }],
        next: async (tx) => {
          if (!(await registerXpub(inProject(tx, project), row.id, body.xpub)))
            throw new KedgeError('conflict', 'Another xpub is registered for this key.');
          return backupKeyView({ ...row, xpub: body.xpub });
        },
      });
    },

    async reportBackupKey({ principal, params, body, commit }) {
      const { project } = principal;
      const row = await getBackupKey(services, principal, params.key_id);
      return commit({
        happenings: [{ type: 'backup_key.answer_refused', project, data: { key: row.id, reason: body.reason } }],
        next: async () => null,
      });
    },

    async getEncryptionKey() {
      const { version, publicKey, signed } = await enclave.encryptionKey();
      return {
        version,
        algorithm: 'RSA-OAEP-256' as const,
        public_key: Buffer.from(publicKey).toString('base64'),
        signed: signedView(signed),
      };
    },
  };
}

export async function getBackupKey(
  services: Services,
  { project }: PrincipalOf<'secret_key'>,
  id: string,
): Promise<BackupKeyRow> {
  const row = await findBackupKey(inProject(services.db, project), id);
  if (row === null) throw new KedgeError('not_found');
  return row;
}

export function validityOf(outcome: CheckOutcome): boolean | null {
  return outcome === 'passed' ? true : outcome === 'attention' ? false : null;
}

/** A check that fails on our side, 5xx, becomes null; what the caller did wrong stays an error. */
export function nullIfOurs(error: unknown): null {
  if (error instanceof KedgeError && errorEntry(error.code).status >= 500) return null;
  throw error;
}

/** What each field that may be signed would say; the enclave says itself what is about the key. */
function signableOf(
  { credential }: PrincipalOf<'secret_key'>,
  { sign_with, organisation, package: bought, user_identifier }: Parsed<'createBackupKey', 'body'>,
): { readonly [F in SignableField]: string | null } {
  const values: { readonly [F in SignableField]: string | null } = {
    external_customer_id: organisation?.customer_id ?? null,
    external_package_id: bought?.package_id ?? null,
    pulled_by_id: credential.type === 'issued_token' ? credential.subject : credential.apiKey,
    pulled_by_type: credential.type,
    user_id: user_identifier,
    key_id: '',
    key_fingerprint: '',
  };
  const asked = new Set(sign_with);
  for (const field of asked) {
    if (values[field] === null)
      throw new RequestInvalid([{ path: 'body.sign_with', message: `${field} has no value in this request` }]);
  }
  const kept = Object.entries(values).map(([field, value]) => [
    field,
    asked.has(field as SignableField) ? value : null,
  ]);
  return Object.fromEntries(kept) as { readonly [F in SignableField]: string | null };
}

function nonceOf(text: string): Uint8Array {
  const nonce = bytesAt('body.client_nonce', text);
  if (nonce.length < 16 || nonce.length > 64)
    throw new RequestInvalid([{ path: 'body.client_nonce', message: '16 to 64 bytes' }]);
  return nonce;
}

/** The root of its own tree, over exactly this key: anything else would make the comparison of chain codes pointless. */
function assertXpubOf(row: BackupKeyRow, text: string): void {
  const invalid = (message: string) => new RequestInvalid([{ path: 'body.xpub', message }]);
  if (row.key_type !== 'secp256k1') throw invalid(`a key of ${row.key_type} has no xpub`);
  const xpub = parseExtendedKey(text);
  if (xpub.depth !== 0 || xpub.parentFingerprint !== 0 || xpub.childNumber !== 0)
    throw invalid('it has a parent: depth, parent fingerprint and child number must be zero');
  if (xpub.chainCode.every((byte) => byte === 0)) throw invalid('its chain code is all zero');
  if (!equalBytes(xpub.publicKey, row.public_key)) throw invalid('it is of another public key');
}
