/**
 * What chains cost beyond the cryptography they need: a sweep of a thousand coins against bare signing of its inputs,
 * addresses against the bare library calls, and decoding against the number of outputs.
 */
import {
  assemblePsbt,
  type BitcoinCodec,
  bitcoinCodec,
  bitcoinNetworks,
  createDescriptor,
  type Descriptor,
  planSweep,
} from '@kedge/chains';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { HDKey } from '@scure/bip32';
import * as btc from '@scure/btc-signer';
import { measureTimes, type Question, type Row } from './measure.ts';

const { regtest } = bitcoinNetworks;
const COINS = 1_000;

export const chains: Question = {
  name: 'chains',
  async run() {
    return [
      await sweep('C1', 'a sweep of 1,000 coins of a 2-of-3 planned, built, checked and signed by one holder', 3),
      await sweep('C2', 'a sweep of 1,000 coins of one key (P2WPKH) planned, built, checked and signed', 1),
      await addresses('C3', 'an address of a 2-of-3', 3),
      await addresses('C4', 'an address of one key (P2WPKH)', 1),
      ...(await decoding()),
    ];
  },
};

interface Wallet {
  readonly account: Descriptor;
  readonly nodes: readonly HDKey[];
}

function wallet(keys: number): Wallet {
  const nodes = Array.from({ length: keys }, (_, i) => HDKey.fromMasterSeed(new Uint8Array(16).fill(i + 1)));
  const account = createDescriptor(
    {
      script: keys === 1 ? 'p2wpkh' : 'p2wsh',
      threshold: keys === 1 ? 1 : 2,
      keys: nodes.map((node) => ({
        kind: 'extended',
        origin: null,
        key: { depth: 0, parentFingerprint: 0, childNumber: 0, chainCode: node.chainCode!, publicKey: node.publicKey! },
        path: [],
        branches: [0, 1],
        ranged: true,
      })),
    },
    regtest,
  );
  return { account, nodes };
}

/** Everything but the node's answers: coins and their transactions are there, and their addresses derived by the scan. */
async function sweep(id: string, what: string, keys: number): Promise<Row> {
  const { account, nodes } = wallet(keys);
  const codec: BitcoinCodec = bitcoinCodec(regtest);
  const held = codec.descriptor(account.text);
  const coins = Array.from({ length: COINS }, (_, index) => {
    const output = held.derive({ change: 0, index });
    const tx = new btc.Transaction({ allowUnknownOutputs: true });
    tx.addInput({ txid: (index + 1).toString(16).padStart(64, '0'), index: 0 });
    tx.addOutput({ script: output.script, amount: 100_000n });
    const previous = tx.unsignedTx;
    return { id: `${tx.id}:0`, txid: tx.id, vout: 0, amount: 100_000n, output, previous };
  });
  const to = held.derive({ change: 0, index: COINS });
  const secrets = coins.map((_, index) => nodes[0]!.deriveChild(0).deriveChild(index).privateKey!);
  const sign = (digest: Uint8Array, index: number) => secp256k1.sign(digest, secrets[index]!, { prehash: false });

  const ours = async () => {
    const plan = planSweep({ from: held, coins, destination: () => to.address, feeRate: 10 });
    let at = 0;
    for (const batch of plan.batches) {
      const psbt = assemblePsbt(held, batch.coins, [{ amount: batch.amount, script: to.script, own: null }]);
      const intent = codec.decode(psbt, account.text);
      if (intent.from !== account.text || intent.feeMax !== batch.fee) throw new Error('the intent is another');
      const asked = codec.digests(psbt);
      for (let input = 0; input < batch.coins.length; input++) sign(asked[input * keys]!.digest, at++);
    }
  };
  const digest = new Uint8Array(32).fill(7);
  const reference = async () => {
    for (let index = 0; index < COINS; index++) sign(digest, index);
  };
  return measureTimes({ id, what, bar: { atMost: 1.3 }, ours, reference });
}

/** New places each time: an address that was derived before is remembered, and costs nothing. */
async function addresses(id: string, what: string, keys: number): Promise<Row> {
  const { account, nodes } = wallet(keys);
  const branches = nodes.map((node) => HDKey.fromExtendedKey(node.publicExtendedKey).deriveChild(0));
  let next = 0;
  const ours = async () => {
    for (let i = 0; i < 20; i++) account.derive({ change: 0, index: next++ });
  };
  let theirs = 0;
  const network = { ...btc.TEST_NETWORK, bech32: 'bcrt' };
  const reference = async () => {
    for (let i = 0; i < 20; i++) {
      const publicKeys = branches.map((branch) => branch.deriveChild(theirs).publicKey!);
      theirs++;
      if (keys === 1) btc.p2wpkh(publicKeys[0]!, network);
      else btc.p2wsh(btc.p2ms(2, btc._sortPubkeys(publicKeys)), network);
    }
  };
  return measureTimes({ id, what, bar: { atMost: 1.2 }, ours, reference });
}

/** Ten times as many outputs against ten times the work, three times over. Linear growth is 1, quadratic would be 10. */
async function decoding(): Promise<Row[]> {
  const codec = bitcoinCodec(regtest);
  const { account } = wallet(1);
  const raw = (outputs: number): Uint8Array => {
    const tx = new btc.Transaction({ allowUnknownOutputs: true });
    const { script } = account.derive({ change: 0, index: 0 });
    for (let i = 0; i < outputs; i++) tx.addOutput({ script, amount: BigInt(1_000 + i) });
    tx.addInput({ txid: '11'.repeat(32), index: 0, finalScriptWitness: [new Uint8Array(64)] });
    return tx.toBytes(true, true);
  };
  const rows: Row[] = [];
  for (const [id, few, many] of [
    ['C5', 10, 100],
    ['C6', 100, 1_000],
    ['C7', 1_000, 10_000],
  ] as const) {
    const [small, large] = [raw(few), raw(many)];
    rows.push(
      await measureTimes({
        id,
        what: `decoding ${many.toLocaleString('en')} outputs ÷ ten times decoding ${few.toLocaleString('en')}`,
        bar: { atMost: 1.5 },
        ours: async () => void codec.decode(large),
        reference: async () => {
          for (let i = 0; i < 10; i++) codec.decode(small);
        },
      }),
    );
  }
  return rows;
}
