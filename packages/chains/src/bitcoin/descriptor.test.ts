/**
 * Descriptors: BIP380 to 389, the golden vault, BIP67, 84 and 86, and every single changed character caught. Of the shapes
 * in the vectors Kedge reads three; the others must be refused by name, never read as something else.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import * as btc from '@scure/btc-signer';
import fc from 'fast-check';
import { ChainError } from '../chain.ts';
import { readVector } from '../testing/vectors.ts';
import { descriptorChecksum, parseDescriptor } from './descriptor.ts';
import { bitcoinNetworks } from './networks.ts';
import { readMultisigScript, sortedMultisigScript } from './scripts.ts';
import { derivationOf, parseExtendedKey } from './xpub.ts';

const { mainnet, regtest } = bitcoinNetworks;

interface DescriptorVectors {
  readonly descriptors: Readonly<
    Record<
      string,
      {
        readonly valid: readonly { readonly descriptor: string; readonly gives: readonly string[] }[];
        readonly invalid: readonly { readonly title: string; readonly descriptor: string }[];
      }
    >
  >;
  readonly checksums: readonly { readonly title: string; readonly text: string }[];
  readonly keys: Readonly<Record<'valid' | 'invalid', readonly { readonly title: string; readonly text: string }[]>>;
}

const vectors = readVector<DescriptorVectors>('descriptors.json');
const vault = readVector<{
  readonly keys: readonly string[];
  readonly checksums: Readonly<Record<string, string>>;
  readonly checksum_with_apostrophes: string;
  readonly addresses: readonly { readonly change: 0 | 1; readonly index: number; readonly address: string }[];
}>('vault.json');

const vaultBody = (below: string) => `wsh(sortedmulti(2,${vault.keys.map((key) => key + below).join()}))`;
const vaultText = `${vaultBody('/<0;1>/*')}#${vault.checksums['/<0;1>/*']}`;

describe('BIP380: checksums', () => {
  test('the valid one of the standard', () => assert.equal(descriptorChecksum('raw(deadbeef)'), '89f8spxm'));

  for (const { title, text } of vectors.checksums.filter((vector) => vector.title !== 'Valid checksum')) {
    test(`refused: ${title}`, () => assertRefused(text));
  }

  test('of the vault, in every form that is exported, and with apostrophes', () => {
    for (const [below, checksum] of Object.entries(vault.checksums)) {
      assert.equal(descriptorChecksum(vaultBody(below)), checksum);
    }
    const apostrophes = vaultBody('/<0;1>/*').replaceAll('h/', "'/").replaceAll('h]', "']");
    assert.equal(descriptorChecksum(apostrophes), vault.checksum_with_apostrophes);
    // Another string with another checksum, and the same wallet.
    assert.equal(parseDescriptor(`${apostrophes}#${vault.checksum_with_apostrophes}`, mainnet).text, vaultText);
  });
});

describe('BIP380: key expressions, in wpkh(…)', () => {
  for (const { title, text } of vectors.keys.valid) {
    const isPrivate = /prv|^\[?.*\]?[5KL][1-9A-HJ-NP-Za-km-z]{50}/.test(text) && !text.includes('xpub');
    const isHardened = /xpub[^/]*\/.*h/.test(text);
    const isUncompressed = /\b04[0-9a-f]{128}/.test(text);
    const expected = isPrivate || isHardened || isUncompressed ? 'refused' : 'read';
    test(`${expected}: ${title}`, () => {
      const written = `wpkh(${text})`;
      if (expected === 'refused') assertRefused(written);
      else assert.match(parse(written).text, /^wpkh\(.*\)#[a-z0-9]{8}$/);
    });
  }

  // Kedge reads `H` too, in an origin: wallets write it, and it can't mean anything else.
  for (const { title, text } of vectors.keys.invalid.filter((vector) => !vector.text.includes('0H/0H/0H'))) {
    test(`refused: ${title}: ${text.slice(0, 40)}`, () => assertRefused(`wpkh(${text})`));
  }
});

for (const [name, { valid, invalid }] of Object.entries(vectors.descriptors)) {
  describe(`${name}: descriptors`, () => {
    for (const { descriptor, gives } of valid) {
      const isPublic = !/prv|[(,\]][5KL][1-9A-HJ-NP-Za-km-z]{50}/.test(descriptor);
      const isOurs = /^(wpkh\([^()]*\)|tr\([^,()]*\)|wsh\(sortedmulti\()/.test(descriptor) && !/;\d+;/.test(descriptor);
      if (isPublic && isOurs && name !== 'bip389') {
        test(`read, with its scripts: ${descriptor.slice(0, 60)}`, () => {
          const read = parse(descriptor);
          const scripts = gives.map((_, index) => bytesToHex(read.derive({ change: 0, index }).script));
          assert.deepEqual(scripts, gives);
        });
      } else if (!(isPublic && isOurs)) {
        test(`refused: ${descriptor.slice(0, 60)}`, () => assertRefused(descriptor));
      }
    }
    for (const { title, descriptor } of invalid) {
      test(`refused: ${title || descriptor.slice(0, 60)}`, () => assertRefused(descriptor));
    }
  });
}

test('BIP389: a pair of branches is what its two descriptors say', () => {
  const keys = vault.keys.map((key) => key.slice(key.indexOf(']') + 1));
  const body = (branch: string) => `wsh(sortedmulti(2,${keys.map((key) => `${key}/7/${branch}/*`).join()}))`;
  const both = parse(body('<2;5>'));
  for (const [change, branch] of [
    [0, '2'],
    [1, '5'],
  ] as const) {
    for (const index of [0, 1, 1000]) {
      assert.equal(both.derive({ change, index }).address, parse(body(branch)).derive({ change: 0, index }).address);
    }
  }
});

describe('the vault', () => {
  const descriptor = parseDescriptor(vaultText, mainnet);

  test('is written as it was read', () => assert.equal(descriptor.text, vaultText));

  for (const { change, index, address } of vault.addresses) {
    test(`has ${address} at ${change}/${index}`, () =>
      assert.equal(descriptor.derive({ change, index }).address, address));
  }

  test('has the same addresses whatever the order of its keys', () => {
    const reversed = `wsh(sortedmulti(2,${[...vault.keys].reverse().map((key) => `${key}/<0;1>/*`)}))`;
    assert.deepEqual(addresses(parse(reversed)), addresses(descriptor));
  });

  test('with one character changed, left out or doubled is refused, at every place', () => {
    for (let at = 0; at < vaultText.length; at++) {
      const [before, character, after] = [vaultText.slice(0, at), vaultText.charAt(at), vaultText.slice(at + 1)];
      const other = character === 'q' ? 'p' : 'q';
      for (const changed of [before + other + after, before + after, before + character + character + after]) {
        if (changed !== vaultText) assert.throws(() => parseDescriptor(changed, mainnet), isRefusal, changed);
      }
    }
  });

  test('is of one network only', () => {
    assert.throws(() => parseDescriptor(vaultText, regtest), isRefusal);
  });
});

test('BIP67: keys sorted, the script, and its address', () => {
  interface Bip67 {
    readonly vectors: readonly Readonly<{ sorted: readonly string[]; script: string }>[];
  }
  for (const { sorted, script } of readVector<Bip67>('bip67.json').vectors) {
    const keys = sorted.map(hexToBytes);
    assert.equal(bytesToHex(sortedMultisigScript(2, keys)).slice(2), script.slice(2));
    assert.deepEqual(readMultisigScript(hexToBytes(script))?.keys.map(bytesToHex), sorted);
  }
});

test('BIP84: the addresses of the standard', () => {
  const { zpub, addresses: expected } = readVector<{ zpub: string; addresses: typeof vault.addresses }>('bip84.json');
  const account = parse(`wpkh(${zpub}/<0;1>/*)`);
  for (const { change, index, address } of expected) assert.equal(account.derive({ change, index }).address, address);
});

test('BIP86: the addresses and keys of the standard', () => {
  interface Bip86 {
    readonly xpub: string;
    readonly addresses: readonly { change: 0 | 1; index: number; address: string; internal_key: string }[];
  }
  const { xpub, addresses: expected } = readVector<Bip86>('bip86.json');
  const account = parse(`tr(${xpub}/<0;1>/*)`);
  for (const { change, index, address, internal_key: internal } of expected) {
    const output = account.derive({ change, index });
    assert.deepEqual([output.address, bytesToHex(output.keys[0]!.publicKey)], [address, internal]);
  }
});

test('another library derives the same scripts', () => {
  const nodes = vault.keys.map((key) => derivationOf(parseExtendedKey(key.slice(key.indexOf(']') + 1))));
  const account = parseDescriptor(vaultText, mainnet);
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 31 - 1 }), fc.constantFrom(0 as const, 1 as const), (index, change) => {
      const keys = nodes.map((node) => node.deriveChild(change).deriveChild(index).publicKey!);
      const theirs = btc.p2wsh(btc.p2ms(2, btc._sortPubkeys(keys)));
      const ours = account.derive({ change, index });
      assert.deepEqual(
        [ours.address, ours.script, ours.witnessScript],
        [theirs.address, theirs.script, theirs.witnessScript],
      );
    }),
    { numRuns: 20 },
  );
});

test('places that a wallet does not have are refused by name', () => {
  const [key] = vault.keys as [string];
  const single = parse(`wpkh(${key})`);
  const receiving = parse(`wpkh(${key}/0/*)`);
  for (const [account, at] of [
    [single, { change: 0, index: 1 }],
    [single, { change: 1, index: 0 }],
    [receiving, { change: 1, index: 0 }],
    [receiving, { change: 0, index: 2 ** 31 }],
    [receiving, { change: 0, index: -1 }],
    [receiving, { change: 0, index: 0.5 }],
  ] as const) {
    assert.throws(
      () => account.derive(at),
      (error) => error instanceof ChainError && error.code === 'address_invalid',
    );
  }
});

test('what holds a private key is refused as such, and the key is not repeated', () => {
  const secrets = vectors.keys.valid.map(({ text }) => text).filter((text) => /prv|^[5KL]/.test(text));
  assert.ok(secrets.length >= 6);
  for (const text of secrets) {
    for (const body of [`wpkh(${text})`, `wsh(sortedmulti(1,${text}))`, `tr(${text})`]) {
      assert.throws(
        () => parseDescriptor(body, mainnet, { checksum: 'optional' }),
        (error) => {
          assert.ok(error instanceof ChainError);
          assert.equal(error.code, 'key_invalid', text);
          assert.match(error.message, /PRIVATE/);
          assert.doesNotMatch(error.message, /prv|[5KL][1-9A-HJ-NP-Za-km-z]{10}/);
          return true;
        },
      );
    }
  }
});

test('vaults that could not be spent from are refused', () => {
  const [one, two] = vault.keys.map((key) => `${key}/<0;1>/*`) as [string, string];
  for (const body of [
    `wsh(sortedmulti(0,${one},${two}))`,
    `wsh(sortedmulti(3,${one},${two}))`,
    `wsh(sortedmulti(2,${one},${one}))`,
    `wsh(sortedmulti(2,${one},${vault.keys[1]}/0/*))`,
    `wsh(sortedmulti(1,${Array.from({ length: 16 }, () => one)}))`,
    `wsh(sortedmulti(2,${one},${two})`,
    `wsh(multi(2,${one},${two}))`,
    `sh(wsh(sortedmulti(2,${one},${two})))`,
    `wpkh(${one},${two})`,
    `wpkh()`,
    '',
    'x'.repeat(5_000),
  ]) {
    assertRefused(body);
  }
});

/** A descriptor that a person typed, without checksum. */
function parse(body: string) {
  return parseDescriptor(body, mainnet, { checksum: 'optional' });
}

function addresses(descriptor: ReturnType<typeof parse>): string[] {
  return [0, 1, 2].map((index) => descriptor.derive({ change: 0, index }).address);
}

function assertRefused(body: string): void {
  assert.throws(() => parse(body), isRefusal, body.slice(0, 200));
}

function isRefusal(error: unknown): boolean {
  return error instanceof ChainError && ['descriptor_invalid', 'key_invalid'].includes(error.code);
}
