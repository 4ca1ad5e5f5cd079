/**
 * The devnet's faucet: gives SOL, makes mints and issues their tokens. Each of these is a transaction of the system or
 * the SPL token program, signed by the faucet's key and executed like anybody's, so that what wallets find is what a
 * cluster would have made. Its key lives as long as the devnet does.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { base58 } from '@scure/base';
import { type Ledger, TOKEN_PROGRAM } from './solana-ledger.ts';
import {
  programAddress,
  readTransaction,
  type WireInstruction,
  writeMessage,
  writeTransaction,
} from './solana-wire.ts';

export type Faucet = ReturnType<typeof createFaucet>;

/** Throws an `Error` in the engine's words when one of its transactions fails. */
export function createFaucet(ledger: Ledger) {
  const secretKey = ed25519.utils.randomSecretKey();
  const bank = base58.encode(ed25519.getPublicKey(secretKey));
  ledger.endow(bank, ENDOWMENT);

  const execute = (instructions: readonly WireInstruction[], others: readonly Uint8Array[] = []): string => {
    const message = writeMessage(bank, ledger.latestBlockhash().blockhash, instructions);
    const signatures = [secretKey, ...others].map((key) => ed25519.sign(message, key));
    const { err, logs, signature } = ledger.send(readTransaction(writeTransaction(message, signatures)));
    if (err !== null) throw new Error(`the faucet's transaction failed: ${JSON.stringify(err)} ${logs.join(' ')}`);
    return signature;
  };

  return {
    /** Gives the signature of the transfer. */
    send(to: string, lamports: bigint): string {
      const transfer = Buffer.alloc(12, 0);
      transfer.writeUInt32LE(2);
      transfer.writeBigUInt64LE(lamports, 4);
      return execute([{ program: SYSTEM_PROGRAM, accounts: [signer(bank), writable(to)], data: transfer }]);
    },

    createMint(decimals: number): string {
      const mintKey = ed25519.utils.randomSecretKey();
      const mint = base58.encode(ed25519.getPublicKey(mintKey));
      const create = Buffer.alloc(52);
      create.writeBigUInt64LE(BigInt(ledger.rentFor(MINT_BYTES)), 4);
      create.writeBigUInt64LE(BigInt(MINT_BYTES), 12);
      create.set(base58.decode(TOKEN_PROGRAM), 20);
      const initialize = Uint8Array.of(0, decimals, ...base58.decode(bank), 0);
      execute(
        [
          { program: SYSTEM_PROGRAM, accounts: [signer(bank), signer(mint)], data: create },
          { program: TOKEN_PROGRAM, accounts: [writable(mint), readonly(RENT_SYSVAR)], data: initialize },
        ],
        [mintKey],
      );
      return mint;
    },

    issue(mint: string, owner: string, amount: bigint): void {
      const seeds = [owner, TOKEN_PROGRAM, mint].map((address) => base58.decode(address));
      const account = programAddress(ASSOCIATED_TOKEN_PROGRAM, seeds);
      const mintTo = Buffer.alloc(9, 7);
      mintTo.writeBigUInt64LE(amount, 1);
      execute([
        {
          program: ASSOCIATED_TOKEN_PROGRAM,
          accounts: [
            signer(bank),
            writable(account),
            readonly(owner),
            readonly(mint),
            readonly(SYSTEM_PROGRAM),
            readonly(TOKEN_PROGRAM),
          ],
          data: Uint8Array.of(1),
        },
        {
          program: TOKEN_PROGRAM,
          accounts: [writable(mint), writable(account), { address: bank, signs: true, writes: false }],
          data: mintTo,
        },
      ]);
    },
  };
}

const SYSTEM_PROGRAM = '11111111111111111111111111111111';
const ASSOCIATED_TOKEN_PROGRAM = 'ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL';
const RENT_SYSVAR = 'SysvarRent111111111111111111111111111111111';
const MINT_BYTES = 82;
/** Half of a million SOL, half of what the engine itself begins with. */
const ENDOWMENT = 5n * 10n ** 14n;

function signer(address: string): WireInstruction['accounts'][number] {
  return { address, signs: true, writes: true };
}

function writable(address: string): WireInstruction['accounts'][number] {
  return { address, signs: false, writes: true };
}

function readonly(address: string): WireInstruction['accounts'][number] {
  return { address, signs: false, writes: false };
}
