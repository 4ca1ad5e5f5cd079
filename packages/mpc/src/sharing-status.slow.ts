/** T-RSH-2 whole, with an ECDSA root: every fault at every message of a resharing. With KEDGE_MINUTES, a sample. */
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { faults, nameOf, reshareWorld, survives } from './testing/faults.ts';

const minutes = Number(process.env.KEDGE_MINUTES ?? 0);

test('T-RSH-2 forget-and-forgive with an ECDSA root', async (t) => {
  const messages = await (await reshareWorld('replace', 'ecdsa-secp256k1')).run(null);
  const all = faults(messages, [1, 2, 3]);
  const sample = minutes > 0 ? Array.from({ length: minutes }, () => all[randomInt(all.length)]!) : all;
  for (const fault of sample) {
    t.diagnostic(nameOf(fault));
    await survives(await reshareWorld('replace', 'ecdsa-secp256k1'), fault, true);
  }
});
