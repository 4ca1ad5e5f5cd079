/** The four Bitcoin networks: what their addresses, keys and first blocks look like. A table, and nothing that acts. */

export type BitcoinNetworkName = 'mainnet' | 'testnet' | 'signet' | 'regtest';

export interface BitcoinNetwork {
  readonly name: BitcoinNetworkName;
  /** CAIP-2: `bip122:` and half the hash of the first block. */
  readonly caip2: string;
  /** Hash of block 0, as explorers print it. */
  readonly genesisHash: string;
  /** Human-readable part of segwit addresses (BIP173). */
  readonly bech32: string;
  /** First byte of P2PKH and P2SH addresses. */
  readonly pubKeyHash: number;
  readonly scriptHash: number;
  /** First byte of private keys in WIF; here only because addresses are coded by a library that wants all four. */
  readonly wif: number;
  /** SLIP-44: 1 for everything that is worth nothing. */
  readonly coinType: 0 | 1;
}

const test = { pubKeyHash: 0x6f, scriptHash: 0xc4, wif: 0xef, coinType: 1 } as const;

export const bitcoinNetworks: { readonly [Name in BitcoinNetworkName]: BitcoinNetwork } = {
  mainnet: {
    name: 'mainnet',
    caip2: 'bip122:000000000019d6689c085ae165831e93',
    genesisHash: '000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f',
    bech32: 'bc',
    pubKeyHash: 0x00,
    scriptHash: 0x05,
    wif: 0x80,
    coinType: 0,
  },
  testnet: {
    name: 'testnet',
    caip2: 'bip122:000000000933ea01ad0ee984209779ba',
    genesisHash: '000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943',
    bech32: 'tb',
    ...test,
  },
  signet: {
    name: 'signet',
    caip2: 'bip122:00000008819873e925422c1ff0f99f7c',
    genesisHash: '00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6',
    bech32: 'tb',
    ...test,
  },
  regtest: {
    name: 'regtest',
    caip2: 'bip122:0f9188f13cb7b2c71f2a335e3a4fc328',
    genesisHash: '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206',
    bech32: 'bcrt',
    ...test,
  },
};
