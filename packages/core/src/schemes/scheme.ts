/**
 * A scheme: one of the ways in which Kedge keeps a wallet usable and a thief out. Each is one object behind this
 * interface; the rest of the code asks the object and never compares names. The interface holds only what the schemes
 * that exist need, and grows with them.
 */

export type SchemeName = 'dual-secret';

/** Something that can be lost or stolen. */
export type Holding = 'client_key' | 'recovery_words' | 'server_key' | 'client_secret' | 'sealed_wallet' | 'export';

/** The kinds of wallet a scheme offers. */
export interface WalletKind {
  /** The key is also sealed under the user's words before it reaches us. */
  readonly secondWrap: boolean;
}

export interface Scheme {
  readonly name: SchemeName;
  /** Who has to act for a spend. */
  readonly holders: readonly string[];
  /** What exists for a wallet of that kind. */
  holdings(kind: WalletKind): readonly Holding[];
  /** Whether somebody who holds exactly these can spend from the wallet, with nobody's help. */
  canSpend(kind: WalletKind, held: ReadonlySet<Holding>): boolean;
  /** Whether the owner can spend again if exactly these are left, the service's software running. */
  canRecover(kind: WalletKind, left: ReadonlySet<Holding>): boolean;
  /** For the wallet's label: whether the operator alone could open it, in one sentence. */
  custody(kind: WalletKind): string;
}

/** What the operator has, being the operator. */
export const operatorHoldings: ReadonlySet<Holding> = new Set(['server_key', 'client_secret', 'sealed_wallet']);
