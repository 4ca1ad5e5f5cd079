/**
 * What a wallet company writes to give its customers a backup key: the ceremony that ends in a wallet two of whose three
 * keys spend, and the check that everything a recovery would need is still there. `main.ts` runs it against a service. The
 * SDK believes nothing but what the pinned enclave signed for exactly this request: with a tampered answer the ceremony
 * stops before there is a wallet, and nothing is saved. The program never sees a private key of Kedge.
 */
import { type BitcoinNetwork, descriptorChecksum, parseDescriptor } from '@kedge/chains';
import type { BackupKeyService } from '@kedge/sdk';
import type { Customers } from './customers.ts';

export interface Integration {
  readonly service: BackupKeyService;
  readonly customers: Customers;
  readonly network: BitcoinNetwork;
}

/** The two keys that Kedge never sees: extended public keys, of the customer's device and of the company. */
export interface OtherKeys {
  readonly owner: string;
  readonly platform: string;
}

/** For the customer's device, which keeps the descriptor: it is all that a wallet program needs to watch and to build. */
export interface NewWallet {
  readonly descriptor: string;
  readonly firstAddress: string;
}

/**
 * Throws `KedgeError('key_refused')` for a key that the enclave did not attest. A crash in between leaves a key that nobody
 * uses, and the customer begins anew.
 */
export async function createWallet(
  { service, customers, network }: Integration,
  customer: string,
  { owner, platform }: OtherKeys,
): Promise<NewWallet> {
  if (customers.find(customer) !== null) throw new Error(`${customer} has a backup key already.`);
  const { key_id, public_key } = await service.create({ user_identifier: customer, key_type: 'secp256k1' });
  const { chainCode, xpub } = service.createXpub(public_key, network.name === 'mainnet' ? 'mainnet' : 'test');
  const wallet = walletOf([owner, platform, xpub], network);
  const backupId = await service.store({ chainCode, publicKey: public_key, coin: 'btc', label: 'wallet' });
  chainCode.fill(0);
  await service.registerXpub(key_id, xpub);
  await assertRecoverable(service, { keyId: key_id, backupId });
  customers.save(customer, { keyId: key_id, backupId });

  return wallet;
}

/** Two of the three spend. Throws for a key that is none, before anything is stored. */
function walletOf(xpubs: readonly string[], network: BitcoinNetwork): NewWallet {
  const text = `wsh(sortedmulti(2,${xpubs.map((xpub) => `${xpub}/<0;1>/*`).join(',')}))`;
  const descriptor = parseDescriptor(`${text}#${descriptorChecksum(text)}`, network);
  return { descriptor: descriptor.text, firstAddress: descriptor.derive({ change: 0, index: 0 }).address };
}

/** Customers whose backup key would not help them today, with the reason. For a job that runs every night. */
export async function findUnrecoverable({ service, customers }: Integration): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const [customer, reference] of customers.all()) {
    await assertRecoverable(service, reference).catch((error: unknown) =>
      found.set(customer, error instanceof Error ? error.message : String(error)),
    );
  }
  return found;
}

/** No coin goes to a wallet before the enclave has used the key and opened the material. */
async function assertRecoverable(
  service: BackupKeyService,
  { keyId, backupId }: { readonly keyId: string; readonly backupId: string },
): Promise<void> {
  for (const { outcome, message } of [await service.verify(keyId), await service.verifyBackup(backupId)])
    if (outcome !== 'passed') throw new Error(message);
}
