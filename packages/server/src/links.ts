/**
 * Links that let somebody without an account do one thing: vote, or cancel. A token is 256 random bits: of votes the
 * enclave's, which checks it again; of cancellations the gateway's own. Rows hold its SHA-256 and, for the letters that
 * still have to be written, the token sealed by the gateway's key. The host of a link is configured and never a request's.
 */
import { createHash } from 'node:crypto';
import { fromBase64Url, toBase64Url } from '@kedge/core';
import type { LinkKind, LinkRow } from './recovery-store.ts';
import type { Services } from './services.ts';

export const TOKEN_BYTES = 32;

export function newLink(
  { key }: Pick<Services, 'key'>,
  of: { readonly kind: LinkKind; readonly subject: string; readonly recipient: string; readonly email: string },
  token: Uint8Array,
): Omit<LinkRow, 'project' | 'used_at'> {
  const hash = hashOf(token);
  return { ...of, token_hash: hash, sealed_token: key.seal(toBase64Url(token), hash) };
}

/** Null for a text that is no token at all. */
export function tokenHash(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9_-]{43}$/.test(text)) return null;
  try {
    return hashOf(fromBase64Url(text));
  } catch {
    return null;
  }
}

/** The whole address, for a letter. `list` only for votes on a change. Null when the gateway's key is another one now. */
export function linkUrl({ key, options }: Pick<Services, 'key' | 'options'>, link: LinkRow, list?: string) {
  const token = key.open(link.sealed_token, link.token_hash);
  if (token === null) return null;
  const end = `${link.recipient}/${token}`;
  switch (link.kind) {
    case 'vote_recovery':
      return `${options.url}/approvals/${link.subject}/${end}`;
    case 'vote_change':
      return `${options.url}/approvals/changes/${list}/${link.subject}/${end}`;
    case 'cancel_recovery':
      return `${options.url}/cancellations/${link.subject}/${end}`;
  }
}

function hashOf(token: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(token).digest());
}
