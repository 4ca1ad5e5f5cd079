/**
 * Electrum (Debian's package) as the wallet of another author: offline, on regtest, each command a process of about half
 * a second. Tests open wallets in it that Kedge made, and pass PSBTs to and fro. Wallets live in a folder of their own,
 * which is gone afterwards.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { HDKey } from '@scure/bip32';
import { fingerprintOf, formatExtendedKey } from '../bitcoin/xpub.ts';
import { formatPath, parsePath } from '../derivation-path.ts';
import type { TreeHolder } from './holders.ts';

/** A holder of whom only the extended public key is known, or a whole one. */
export type ElectrumHolder = Pick<TreeHolder, 'key'> | TreeHolder;

export interface Electrum {
  /** A multisig wallet of these holders; those in `signers` with their private keys. */
  multisig(threshold: number, holders: readonly ElectrumHolder[], signers?: readonly ElectrumHolder[]): ElectrumWallet;
  /** A P2WPKH wallet of one holder, which signs. */
  single(holder: TreeHolder): ElectrumWallet;
}

export interface ElectrumWallet {
  /** A command of Electrum's with this wallet, and what it prints. Throws what it complains of. */
  run(...words: readonly string[]): Promise<string>;
}

const ELECTRUM = '/usr/bin/electrum';
/** What `skip` takes: false, or why. */
export const electrumIsMissing = existsSync(ELECTRUM) ? false : `${ELECTRUM} is not installed`;

/** SLIP-132: Electrum tells kinds of wallets apart by them. Test networks. */
const VERSIONS = {
  p2wpkh: { public: 0x045f1cf6, private: 0x045f18bc },
  p2wsh: { public: 0x02575483, private: 0x02575048 },
} as const;

export async function withElectrum<T>(work: (electrum: Electrum) => Promise<T>): Promise<T> {
  const home = mkdtempSync(join(tmpdir(), 'kedge-electrum-'));
  let wallets = 0;
  const open = (content: object): ElectrumWallet => {
    const path = join(home, `wallet-${wallets++}.json`);
    writeFileSync(path, JSON.stringify({ use_encryption: false, ...content }));
    return {
      async run(...words) {
        // A home for each wallet: commands may run at the same time.
        const args = ['--regtest', '--offline', '-D', `${path}.home`, '-w', path, ...words];
        const { stdout } = await promisify(execFile)(ELECTRUM, args, { timeout: 60_000, maxBuffer: 16 * 1024 * 1024 });
        return stdout.trim();
      },
    };
  };
  try {
    return await work({
      multisig: (threshold, holders, signers = []) =>
        open({
          wallet_type: `${threshold}of${holders.length}`,
          ...Object.fromEntries(
            holders.map((holder, i) => [`x${i + 1}/`, keystore(holder, 'p2wsh', signers.includes(holder))]),
          ),
        }),
      single: (holder) => open({ wallet_type: 'standard', keystore: keystore(holder, 'p2wpkh', true) }),
    });
  } finally {
    rmSync(home, { recursive: true });
  }
}

function keystore(holder: ElectrumHolder, use: keyof typeof VERSIONS, signs: boolean): object {
  const { key } = holder;
  // The root itself, when it has no other origin.
  const { fingerprint, path } = key.origin ?? { fingerprint: fingerprintOf(key.key.publicKey), path: '' };
  return {
    type: 'bip32',
    xpub: formatExtendedKey(key.key, 'test', use),
    xprv: signs && 'account' in holder ? xprvOf(holder, use) : null,
    pw_hash_version: 1,
    derivation: path === '' ? 'm' : `m/${formatPath(parsePath(path)).replaceAll('h', "'")}`,
    root_fingerprint: fingerprint,
  };
}

function xprvOf({ account }: TreeHolder, use: keyof typeof VERSIONS): string {
  const { chainCode, privateKey, depth, index, parentFingerprint } = account;
  return new HDKey({
    versions: VERSIONS[use],
    chainCode: chainCode!,
    privateKey: privateKey!,
    depth,
    index,
    parentFingerprint,
  }).privateExtendedKey;
}
