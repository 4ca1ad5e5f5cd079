/** `descriptor check` and `psbt show`, as a person types them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseLine } from '../command.ts';
import { descriptorCommands } from './descriptors.ts';

const main = fileURLToPath(new URL('../main.ts', import.meta.url));
const vectors = new URL('../../../../vectors/', import.meta.url);

test('a descriptor without checksum is completed, and its addresses are the vault’s', async () => {
  const vault = JSON.parse(await readFile(new URL('vault.json', vectors), 'utf8')) as {
    keys: string[];
    checksums: Record<string, string>;
    addresses: { change: number; index: number; address: string }[];
  };
  const body = `wsh(sortedmulti(2,${vault.keys.map((key) => `${key}/<0;1>/*`)}))`;
  const { lines } = await run('descriptor', 'check', body);
  assert.match(lines.join('\n'), /2 of 3 keys, mainnet[\s\S]*without a checksum/);
  const { data } = await run('descriptor', 'check', `${body}#${vault.checksums['/<0;1>/*']}`);
  const read = data as { descriptor: string; receiving: string[]; change: string[]; notes: string[] };
  assert.equal(read.descriptor, `${body}#${vault.checksums['/<0;1>/*']}`);
  assert.deepEqual(read.notes, []);
  assert.equal(read.receiving[0], vault.addresses[0]!.address);
  assert.equal(read.change[0], vault.addresses.at(-1)!.address);
});

test('a mainnet key in whose middle stands tpub is of mainnet', async () => {
  const key =
    'xpub661MyMwAqRbcEYS8w7XLSVeEsBXy79zSzH1J8vCdxAZningWLdN3zjjHxP88pg5hyKPXs5EnMzSitpubJv7J8edNnggeNBZuzEWJTXZbZvk';
  const { data } = await run('descriptor', 'check', `wpkh(${key}/<0;1>/*)`);
  assert.equal((data as { network: string }).network, 'mainnet');
});

test('a wrong character, a private key and an unknown network are told in a sentence, and the exit code is 1', async () => {
  const wrong = 'wpkh(0260b2003c386519fc9eadf2b5cf124dd8eea4c4e68d5e154050a9346ea98ce600)#00000000';
  await assert.rejects(run('descriptor', 'check', wrong), /checksum does not fit/);
  await assert.rejects(run('descriptor', 'check', 'wpkh()', '--network', 'moon'), /mainnet, testnet, signet, regtest/);
  const secret = await kedge(
    'descriptor',
    'check',
    'wpkh(L4rK1yDtCWekvXuE6oXD9jCYfFNV2cWRpVuPLBcCU2z8TrisoyY1)',
    '--json',
  );
  assert.equal(secret.code, 1);
  assert.equal((JSON.parse(secret.stdout) as { error: { code: string } }).error.code, 'key_invalid');
  assert.doesNotMatch(secret.stdout, /L4rK1y/);
});

test('a PSBT says what it spends, pays and costs, from bytes and from text', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kedge-psbt-'));
  try {
    const { sections } = JSON.parse(await readFile(new URL('bip174.json', vectors), 'utf8')) as {
      sections: Record<string, { title: string; hex: string }[]>;
    };
    const { hex } = sections['The following are valid PSBTs']!.find(({ title }) => title.includes('one P2WSH input'))!;
    const bytes = Buffer.from(hex, 'hex');
    const answers: unknown[] = [];
    for (const [name, content] of [
      ['raw.psbt', bytes],
      ['base64.psbt', `${bytes.toString('base64')}\n`],
      ['hex.psbt', hex],
    ] as const) {
      await writeFile(join(folder, name), content);
      answers.push((await run('psbt', 'show', join(folder, name), '--network', 'testnet')).data);
    }
    const [shown, ...same] = answers as [Record<string, unknown>, ...unknown[]];
    for (const other of same) assert.deepEqual(other, shown);
    assert.deepEqual(shown.outputs, [
      { to: 'tb1q0vaqp07uznf809wzkaysr5ya5mh3xdtefjljn2', amount_sats: '499990000', change: false },
    ]);
    assert.deepEqual([shown.fee_sats, shown.warnings], ['10000', ['amount_unproven', 'not_replaceable']]);
    await writeFile(join(folder, 'cut.psbt'), bytes.subarray(0, 99));
    await assert.rejects(run('psbt', 'show', join(folder, 'cut.psbt')), /PSBT can't be used/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

async function run(...words: readonly string[]) {
  const line = parseLine(words);
  const command = descriptorCommands.find(({ words: own }) => line.words.join(' ').startsWith(own))!;
  return command.run(line.context(2));
}

/** As a process, for what the whole program prints. */
function kedge(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const argv = ['--conditions=@kedge/source', '--import', 'tsx', main, ...args];
    execFile(process.execPath, argv, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}
