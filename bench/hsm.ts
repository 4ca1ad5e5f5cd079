/**
 * P9: the PKCS#11 adapter against a bare loop of C_DecryptInit and C_Decrypt on the same token, 32-byte keys, through the
 * same binding. SoftHSM answers in microseconds, so this is the price of the adapter alone.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPkcs11 } from '../packages/enclave/src/pkcs11.ts';
import { CKA, CKF, CKM, CKO, loadModule, Memory, template, WORD } from '../packages/enclave/src/pkcs11-binding.ts';
import { createSoftHsmToken } from '../packages/enclave/src/testing/softhsm.ts';
import { measurePairs, type Question } from './measure.ts';
import { random } from './vault.ts';

const CALLS = 5_000;
const KEY = { purpose: 'wallet', version: 1 } as const;

export const hsm: Question = {
  name: 'hsm',
  async run() {
    const token = createSoftHsmToken(mkdtempSync(join(tmpdir(), 'kedge-bench-hsm-')));
    Object.assign(process.env, token.env);
    const rootKeys = await openPkcs11({
      module: token.module,
      tokenLabel: token.tokenLabel,
      pin: token.pin,
      create: true,
    });
    await rootKeys.createKey(KEY);
    const aad = random(64);
    const wrapped = await rootKeys.wrap(KEY, random(32), aad);
    const raw = rawUnwrap(token.module, token.tokenLabel, wrapped, aad);
    const row = await measurePairs({
      id: 'P9',
      what: 'a 32-byte key unwrapped in the token, one after the other',
      count: CALLS,
      unit: 'per s',
      bar: { atLeast: 0.6 },
      async ours() {
        for (let call = 0; call < CALLS; call++) (await rootKeys.unwrap(KEY, wrapped, aad)).fill(0);
      },
      async reference() {
        for (let call = 0; call < CALLS; call++) raw();
      },
    });
    await rootKeys.close();
    return [row];
  },
};

/** The process is logged in by the adapter; a login holds for all its sessions. */
function rawUnwrap(module: string, tokenLabel: string, wrapped: Uint8Array, aad: Uint8Array): () => Uint8Array {
  const { inline: calls } = loadModule(module);
  const ok = (status: number) => {
    if (status !== 0) throw new Error(`0x${status.toString(16)}`);
  };
  const count = new Memory(WORD);
  ok(calls.getSlotList(1, 0, count.address));
  const slots = new Memory(count.word(0) * WORD);
  ok(calls.getSlotList(1, slots.address, count.address));
  const info = new Memory(256);
  const slot = Array.from({ length: count.word(0) }, (_, at) => slots.word(at * WORD)).find((candidate) => {
    ok(calls.getTokenInfo(candidate, info.address));
    return new TextDecoder().decode(info.bytes.subarray(0, 32)).trimEnd() === tokenLabel;
  })!;
  const out = new Memory(WORD);
  ok(calls.openSession(slot, CKF.SERIAL_SESSION | CKF.RW_SESSION, 0, 0, out.address));
  const session = out.word(0);
  const wanted = template([
    [CKA.CLASS, CKO.SECRET_KEY],
    [CKA.LABEL, 'kedge/wallet/v1'],
  ]);
  ok(calls.findObjectsInit(session, wanted.memory.address, wanted.count));
  ok(calls.findObjects(session, out.address, 1, count.address));
  ok(calls.findObjectsFinal(session));
  const key = out.word(0);

  const nonce = bytesAt(wrapped.subarray(0, 12));
  const data = bytesAt(aad);
  const input = bytesAt(wrapped.subarray(12));
  const output = new Memory(64);
  const parameters = new Memory(6 * WORD);
  [nonce.address, 12, 96, data.address, aad.length, 128].forEach((word, at) => {
    parameters.setWord(at * WORD, word);
  });
  const mechanism = new Memory(3 * WORD);
  [CKM.AES_GCM, parameters.address, 6 * WORD].forEach((word, at) => {
    mechanism.setWord(at * WORD, word);
  });
  const length = wrapped.length - 12;
  const held = { nonce, data, input, parameters, mechanism };
  return () => {
    count.setWord(0, 64);
    ok(calls.decryptInit(session, held.mechanism.address, key));
    ok(calls.decrypt(session, held.input.address, length, output.address, count.address));
    return output.bytes.slice(0, count.word(0));
  };
}

function bytesAt(bytes: Uint8Array): Memory {
  const memory = new Memory(bytes.length);
  memory.bytes.set(bytes);
  return memory;
}
