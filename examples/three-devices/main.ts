/**
 * Tells the story in Node, with the quick secp256k1 of servers:
 * `node --conditions=@kedge/source --import tsx examples/three-devices/main.ts`.
 */
import { nobleArithmetic } from '@kedge/mpc';
import { openFastSecp256k1 } from '@kedge/mpc/fast';
import { tell } from './story.ts';

const secp256k1 = openFastSecp256k1((length) => globalThis.crypto.getRandomValues(new Uint8Array(length)));

await tell({
  second: { threshold: 3, count: 5 },
  nowMs: BigInt(Date.now()),
  say: (line) => console.log(line),
  arithmetic: { ...nobleArithmetic, secp256k1 },
});
