/**
 * Output descriptors (BIP380 to 389): the text that says all of a Bitcoin wallet's addresses, and so what every other
 * wallet needs to take over. Kedge speaks three shapes, `wpkh(KEY)`, `tr(KEY)` and `wsh(sortedmulti(M,KEY,…))`, and refuses
 * the others by name. What is written is canonical: `h` for hardened steps, both branches as `<0;1>`, the checksum at the end.
 * No private key is ever read; one that is pasted is refused before anything else is looked at.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import type { HDKey } from '@scure/bip32';
import { type AddressAt, ChainError } from '../chain.ts';
import { formatPath, parsePath } from '../derivation-path.ts';
import { addressOfScript } from './address.ts';
import type { BitcoinNetwork } from './networks.ts';
import { p2tr, p2wpkh, p2wsh, sortedMultisigScript } from './scripts.ts';
import {
  derivationOf,
  type ExtendedPublicKey,
  fingerprintOf,
  formatExtendedKey,
  HARDENED,
  parseExtendedKey,
} from './xpub.ts';

/** Where a key comes from: the fingerprint of its root (8 hex digits) and the path from there (`48h/0h/0h/2h`). */
export interface KeyOrigin {
  readonly fingerprint: string;
  readonly path: string;
}

/** One key of a descriptor: an extended one with what is derived below it, or a single one. */
export type DescriptorKey =
  | {
      readonly kind: 'extended';
      readonly origin: KeyOrigin | null;
      readonly key: ExtendedPublicKey;
      /** Steps between the extended key and the branch. */
      readonly path: readonly number[];
      /** Receiving and change branch (`<0;1>`), one branch for both, or none. */
      readonly branches: readonly [number, number] | readonly [number] | readonly [];
      /** Whether it ends in `/*`. */
      readonly ranged: boolean;
    }
  /** SEC1 compressed (33 bytes). In `tr` its x coordinate counts. */
  | { readonly kind: 'single'; readonly origin: KeyOrigin | null; readonly publicKey: Uint8Array };

export type ScriptKind = 'p2wpkh' | 'p2tr' | 'p2wsh';

export interface DescriptorParts {
  readonly script: ScriptKind;
  /** 1 for single-key scripts. */
  readonly threshold: number;
  readonly keys: readonly DescriptorKey[];
}

/** An output of the descriptor, with what a PSBT needs to spend it. */
export interface DerivedOutput {
  readonly at: AddressAt;
  readonly address: string;
  /** scriptPubKey. */
  readonly script: Uint8Array;
  readonly witnessScript: Uint8Array | null;
  /** In the order of the witness script; x-only (32 bytes) in `tr`, compressed otherwise. */
  readonly keys: readonly { readonly publicKey: Uint8Array; readonly origin: KeyOrigin }[];
  /** The key that a Taproot signature verifies under (32 bytes, BIP341 with BIP86's empty tree). */
  readonly outputKey: Uint8Array | null;
}

export interface Descriptor extends DescriptorParts {
  /** Canonical, with checksum. */
  readonly text: string;
  readonly network: BitcoinNetwork;
  /** Whether it has many addresses, and whether change has a branch of its own. */
  readonly ranged: boolean;
  readonly hasChangeBranch: boolean;
  /** Throws `address_invalid` for a place that this descriptor doesn't have. Remembers what it derived, up to {@link DERIVED_MAX}. */
  derive(at: AddressAt): DerivedOutput;
}

/** Standardness: larger bare P2WSH multisigs exist on paper only; hardware wallets stop at 15 too. */
const KEYS_MAX = 15;
/** 15 keys with origin and path take about 3,000 characters. */
const DESCRIPTOR_LENGTH_MAX = 4_000;
/** Steps between an extended key and its branch. */
const PATH_STEPS_MAX = 10;
const DEPTH_MAX = 255;
/** Derived outputs that a descriptor remembers: 2 branches of a wallet with thousands of addresses. */
export const DERIVED_MAX = 20_000;

/**
 * Reads a descriptor. `checksum: 'optional'` is for text that a person types; stored ones always carry it.
 * Throws `descriptor_invalid` or, for its keys, `key_invalid`.
 */
export function parseDescriptor(
  text: string,
  network: BitcoinNetwork,
  { checksum = 'required' }: { checksum?: 'required' | 'optional' } = {},
): Descriptor {
  if (text.length > DESCRIPTOR_LENGTH_MAX) throw invalid(`it has more than ${DESCRIPTOR_LENGTH_MAX} characters`);
  const body = withoutChecksum(text, checksum);
  return createDescriptor(parseBody(body, network), network);
}

/** A descriptor from its parts, for wallets that are being made. Throws as {@link parseDescriptor}. */
export function createDescriptor(parts: DescriptorParts, network: BitcoinNetwork): Descriptor {
  assertParts(parts);
  const body = formatBody(parts, network);
  const derived = new Map<string, DerivedOutput>();
  const keys = parts.keys.map(keySource);
  const [first] = parts.keys as [DescriptorKey];
  const ranged = first.kind === 'extended' && first.ranged;
  const hasChangeBranch = first.kind === 'extended' && first.branches.length === 2;
  for (const change of hasChangeBranch ? ([0, 1] as const) : ([0] as const))
    assertDistinct(keys.map((source) => source({ change, index: 0 }).publicKey));

  return {
    ...parts,
    network,
    text: `${body}#${descriptorChecksum(body)}`,
    ranged,
    hasChangeBranch,
    derive(at) {
      const { change, index } = at;
      if (!Number.isInteger(index) || index < 0 || index >= HARDENED || (change !== 0 && change !== 1))
        throw noSuchAddress(`there is no address ${change}/${index}`);
      if (!ranged && index !== 0) throw noSuchAddress('this wallet has one address only, number 0');
      if (!hasChangeBranch && change !== 0) throw noSuchAddress('this wallet has no change addresses');
      const place = `${change}/${index}`;
      const known = derived.get(place);
      if (known !== undefined) return known;
      const made = outputOf(
        parts,
        keys.map((source) => source(at)),
        at,
        network,
      );
      if (derived.size >= DERIVED_MAX) derived.clear();
      derived.set(place, made);
      return made;
    },
  };
}

/** The account of one key alone, as {@link import('../chain.ts').Chain.account} gives it. */
export function singleKeyDescriptor(
  script: 'p2wpkh' | 'p2tr',
  publicKey: Uint8Array,
  network: BitcoinNetwork,
): Descriptor {
  return createDescriptor({ script, threshold: 1, keys: [{ kind: 'single', origin: null, publicKey }] }, network);
}

// Text.

/** BIP380: the alphabet of descriptors, in groups of 32 so that case and neighbouring digits are told apart. */
const ALPHABET = '0123456789()[],\'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#"\\ ';
const CHECKSUM_ALPHABET = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const GENERATORS = [0xf5dee51989n, 0xa9fdca3312n, 0x1bab10e32dn, 0x3706b1677an, 0x644d626ffdn];

/** BIP380 "Checksum", over the text before `#`. Throws `descriptor_invalid` for a character outside its alphabet. */
export function descriptorChecksum(body: string): string {
  let state = 1n;
  const feed = (symbol: number): void => {
    const top = state >> 35n;
    state = ((state & 0x7ffffffffn) << 5n) ^ BigInt(symbol);
    for (let i = 0; i < 5; i++) if ((top >> BigInt(i)) & 1n) state ^= GENERATORS[i]!;
  };
  let group = 0;
  let groupLength = 0;
  for (const character of body) {
    const at = ALPHABET.indexOf(character);
    if (at < 0) throw invalid('it has a character that no descriptor has');
    feed(at & 31);
    group = group * 3 + (at >> 5);
    if (++groupLength === 3) {
      feed(group);
      group = 0;
      groupLength = 0;
    }
  }
  if (groupLength > 0) feed(group);
  for (let i = 0; i < 8; i++) feed(0);
  state ^= 1n;
  return Array.from({ length: 8 }, (_, i) => CHECKSUM_ALPHABET[Number((state >> BigInt(5 * (7 - i))) & 31n)]).join('');
}

function withoutChecksum(text: string, demanded: 'required' | 'optional'): string {
  const [body = '', given, ...more] = text.split('#');
  if (more.length > 0) throw invalid('it has more than one #');
  // Before the checksum is looked at: whoever pastes a private key should hear of that, not of a typing error.
  if (/\b[a-zA-Z]prv|\b[59KLc][1-9A-HJ-NP-Za-km-z]{50,51}\b/.test(body))
    throw new ChainError(
      'key_invalid',
      'This descriptor holds a PRIVATE key. Kedge asks for public ones only; whoever has seen it can spend. Move the funds to a new wallet.',
    );
  if (given === undefined) {
    if (demanded === 'optional') return body;
    throw invalid('its checksum, # and 8 characters at the end, is missing');
  }
  const right = descriptorChecksum(body);
  if (given !== right) throw invalid('its checksum does not fit, so a character is wrong or missing');
  return body;
}

function parseBody(body: string, network: BitcoinNetwork): DescriptorParts {
  const multi = /^wsh\(sortedmulti\((0|[1-9][0-9]?),(.*)\)\)$/.exec(body);
  if (multi !== null) {
    const keys = multi[2]!.split(',');
    if (keys.length > KEYS_MAX) throw invalid(`it has ${keys.length} keys, more than ${KEYS_MAX}`);
    return { script: 'p2wsh', threshold: Number(multi[1]), keys: keys.map((key) => parseKey(key, network, 'p2wsh')) };
  }
  const single = /^(wpkh|tr)\(([^(),{}]*)\)$/.exec(body);
  if (single !== null) {
    const script = single[1] === 'tr' ? 'p2tr' : 'p2wpkh';
    return { script, threshold: 1, keys: [parseKey(single[2]!, network, script)] };
  }
  throw invalid('Kedge reads wpkh(KEY), tr(KEY) and wsh(sortedmulti(M,KEY,…)), and this is none of them');
}

/** BIP380 "Key Expressions", BIP389 for `<0;1>`. */
function parseKey(text: string, network: BitcoinNetwork, script: ScriptKind): DescriptorKey {
  const [, originText, keyText = '', rest = ''] = /^(?:\[([^\]]*)\])?([^/[\]]*)(\/.*)?$/.exec(text) ?? [];
  const origin = originText === undefined ? null : parseOrigin(originText);
  if (/^[0-9a-fA-F]+$/.test(keyText) && (keyText.length === 64 || keyText.length === 66)) {
    if (rest !== '') throw invalid('a single public key has nothing below it');
    return { kind: 'single', origin, publicKey: parsePublicKey(keyText, script) };
  }
  const { network: keyNetwork, use: _use, ...key } = parseExtendedKey(keyText);
  if (keyNetwork !== (network.coinType === 0 ? 'mainnet' : 'test'))
    throw invalid(
      `one of its keys is for ${keyNetwork === 'mainnet' ? 'mainnet' : 'test networks'}, not for ${network.name}`,
    );
  return { kind: 'extended', origin, key, ...parseBelow(rest) };
}

function parseOrigin(text: string): KeyOrigin {
  const [, fingerprint, path = ''] = /^([0-9a-fA-F]{8})(?:\/(.*))?$/.exec(text) ?? [];
  if (fingerprint === undefined || text.endsWith('/'))
    throw invalid(`an origin is 8 hex digits and a path, as in [d34db33f/48h/0h/0h/2h]`);
  return { fingerprint: fingerprint.toLowerCase(), path: formatPath(parsePath(path)) };
}

function parsePublicKey(hex: string, script: ScriptKind): Uint8Array {
  const isXOnly = hex.length === 64;
  if (isXOnly && script !== 'p2tr') throw invalid('a key of 32 bytes fits in tr(…) only');
  try {
    return secp256k1.Point.fromHex(isXOnly ? `02${hex}` : hex).toBytes(true);
  } catch {
    throw invalid('one of its public keys is no point of secp256k1');
  }
}

/** What follows an extended key: plain steps, at most one pair of branches, at most one star at the end. */
function parseBelow(text: string): Pick<DescriptorKey & { kind: 'extended' }, 'path' | 'branches' | 'ranged'> {
  const steps = text.split('/').slice(1);
  const ranged = steps.at(-1) === '*';
  if (ranged) steps.pop();
  if (steps.length > PATH_STEPS_MAX) throw invalid(`more than ${PATH_STEPS_MAX} steps stand below a key`);
  const isStep = (step: string) => /^(0|[1-9][0-9]{0,9})$/.test(step) && Number(step) < HARDENED;
  const last = steps.at(-1);
  const pair = last === undefined ? null : /^<(0|[1-9][0-9]{0,9});(0|[1-9][0-9]{0,9})>$/.exec(last);
  if (pair !== null) {
    if (!isStep(pair[1]!) || !isStep(pair[2]!) || pair[1] === pair[2])
      throw invalid('its two branches must differ and stay below 2147483648');
    steps.pop();
  }
  if (steps.some((step) => /[h'H]$/.test(step)))
    throw invalid('a hardened step below a public key can be derived by nobody');
  if (!steps.every(isStep)) throw invalid('below a key stand numbers, <0;1> and * at the end, as in /<0;1>/*');
  const path = steps.map(Number);
  if (pair !== null) return { path, branches: [Number(pair[1]), Number(pair[2])], ranged };
  const only = ranged ? path.pop() : undefined;
  return { path, branches: only === undefined ? [] : [only], ranged };
}

function assertParts({ script, threshold, keys }: DescriptorParts): void {
  if (keys.length < 1 || keys.length > KEYS_MAX)
    throw invalid(`it has ${keys.length} keys; 1 to ${KEYS_MAX} are possible`);
  if (script !== 'p2wsh' && (keys.length !== 1 || threshold !== 1)) throw invalid('a single-key script has one key');
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > keys.length)
    throw invalid(`${threshold} of ${keys.length} keys can't be asked for`);
  const shape = (key: DescriptorKey) => (key.kind === 'extended' ? `${key.branches.length}${key.ranged}` : 'single');
  if (keys.some((key) => shape(key) !== shape(keys[0]!)))
    throw invalid('its keys do not all end alike, so they have no common addresses');
  for (const key of keys) if (key.kind === 'extended') assertDepth(key);
  assertDistinct(keys.map((key) => (key.kind === 'extended' ? key.key.publicKey : key.publicKey)));
}

/** Asked of the keys as they stand and as they are derived: an extended key and one below it can be the same holder's. */
function assertDistinct(publicKeys: readonly Uint8Array[]): void {
  if (new Set(publicKeys.map(bytesToHex)).size !== publicKeys.length) throw invalid('the same key stands in it twice');
}

/** BIP32 counts the steps from the root in one byte. */
function assertDepth({ origin, key, path, branches, ranged }: DescriptorKey & { kind: 'extended' }): void {
  const below = path.length + (branches.length > 0 ? 1 : 0) + (ranged ? 1 : 0);
  const above = Math.max(key.depth, origin === null ? 0 : parsePath(origin.path).length);
  if (above + below > DEPTH_MAX) throw invalid(`a key stands more than ${DEPTH_MAX} steps below its root`);
}

function formatBody({ script, threshold, keys }: DescriptorParts, network: BitcoinNetwork): string {
  const texts = keys.map((key) => formatKey(key, network, script));
  if (script === 'p2wsh') return `wsh(sortedmulti(${threshold},${texts.join(',')}))`;
  return `${script === 'p2tr' ? 'tr' : 'wpkh'}(${texts[0]})`;
}

function formatKey(key: DescriptorKey, network: BitcoinNetwork, script: ScriptKind): string {
  const origin = key.origin === null ? '' : `[${[key.origin.fingerprint, key.origin.path].filter(Boolean).join('/')}]`;
  if (key.kind === 'single')
    return `${origin}${bytesToHex(script === 'p2tr' ? key.publicKey.slice(1) : key.publicKey)}`;
  const branch = key.branches.length === 2 ? [`<${key.branches.join(';')}>`] : key.branches.map(String);
  const below = [...key.path.map(String), ...branch, ...(key.ranged ? ['*'] : [])];
  const xpub = formatExtendedKey(key.key, network.coinType === 0 ? 'mainnet' : 'test');
  return [`${origin}${xpub}`, ...below].join('/');
}

// Keys and scripts.

interface DerivedKey {
  readonly publicKey: Uint8Array;
  readonly origin: KeyOrigin;
}

/** The key at each place; what is common to all places is derived once, when the first is asked for. */
function keySource(key: DescriptorKey): (at: AddressAt) => DerivedKey {
  if (key.kind === 'single') {
    return () => ({
      publicKey: key.publicKey,
      origin: key.origin ?? { fingerprint: fingerprintOf(key.publicKey), path: '' },
    });
  }
  let stem: ReturnType<typeof stemOf> | null = null;
  return ({ change, index }) => {
    stem ??= stemOf(key);
    const { fingerprint, steps, branches, base } = stem;
    const chosen = branches[branches.length === 2 ? change : 0];
    const node: HDKey = chosen?.node ?? base;
    const last = key.ranged ? node.deriveChild(index) : node;
    const path = [...steps, ...(chosen ? [chosen.branch] : []), ...(key.ranged ? [index] : [])];
    return { publicKey: last.publicKey!, origin: { fingerprint, path: formatPath(path) } };
  };
}

function stemOf(key: DescriptorKey & { kind: 'extended' }) {
  const base = key.path.reduce((node, step) => node.deriveChild(step), derivationOf(key.key));
  // Without an origin the extended key is a root of its own, as far as anybody can tell.
  const root = key.origin ?? { fingerprint: fingerprintOf(key.key.publicKey), path: '' };
  const branches = key.branches.map((branch) => ({ branch, node: base.deriveChild(branch) }));
  return { fingerprint: root.fingerprint, steps: [...parsePath(root.path), ...key.path], branches, base };
}

function outputOf(
  { script: kind, threshold }: DescriptorParts,
  keys: readonly DerivedKey[],
  at: AddressAt,
  network: BitcoinNetwork,
): DerivedOutput {
  const place = { change: at.change, index: at.index } as const;
  const done = (made: Omit<DerivedOutput, 'at' | 'address'>): DerivedOutput => ({
    at: place,
    address: addressOfScript(made.script, network)!,
    ...made,
  });
  if (kind === 'p2wsh') {
    // BIP67: keys sorted, or two wallets derive two addresses.
    const sorted = [...keys].sort((a, b) => compareBytes(a.publicKey, b.publicKey));
    const witnessScript = sortedMultisigScript(
      threshold,
      sorted.map((key) => key.publicKey),
    );
    return done({ script: p2wsh(witnessScript), witnessScript, keys: sorted, outputKey: null });
  }
  const [key] = keys as [DerivedKey];
  if (kind === 'p2wpkh') return done({ script: p2wpkh(key.publicKey), witnessScript: null, keys, outputKey: null });
  const internal = key.publicKey.slice(1);
  const { script, outputKey } = p2tr(internal);
  return done({ script, witnessScript: null, keys: [{ ...key, publicKey: internal }], outputKey });
}

export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

function noSuchAddress(what: string): ChainError {
  return new ChainError('address_invalid', `In this wallet ${what}. Ask for another one.`);
}

function invalid(reason: string): ChainError {
  return new ChainError(
    'descriptor_invalid',
    `The descriptor can't be used: ${reason}. Export it again from the wallet it is of.`,
  );
}
