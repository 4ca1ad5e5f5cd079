/** `rotate`: a new server key, how far the rewrapping is, and the end of an old one. */
import type { ResponseOf } from '@kedge/core';
import { asOperator, secondOperator } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';

export const rotateCommands: readonly Command[] = [
  {
    words: 'rotate start',
    usage: 'rotate start [--as OPERATOR]',
    summary: 'make a new server key and rewrap everything',
    run: start,
  },
  { words: 'rotate status', usage: 'rotate status', summary: 'the versions of the server key', run: status },
  {
    words: 'rotate destroy',
    usage: 'rotate destroy VERSION [--as OPERATOR] [--as2 OPERATOR]',
    summary: 'destroy a retired version; two operators',
    run: destroy,
  },
];

async function start(context: Context): Promise<Result> {
  const { client, connection, operator } = await asOperator(context);
  return shown(
    await client.call('startRotation', {
      proof: connection.prove(operator.key, { act: 'rotate', subject: operator.name }),
    }),
  );
}

async function status(context: Context): Promise<Result> {
  return shown(await (await asOperator(context)).client.call('getRotation', {}));
}

async function destroy(context: Context): Promise<Result> {
  const version = Number(required(context, 0, 'The version'));
  const { client, connection, operator } = await asOperator(context);
  const second = await secondOperator(context, operator.name);
  const act = { act: 'destroy_server_key' as const, parameters: { version } };
  const secondProof = await connection.prove(second.key, { ...act, subject: second.name })(1);
  return shown(
    await client.call('destroyServerKey', {
      params: { version },
      body: { second_proof: secondProof },
      proof: connection.prove(operator.key, { ...act, subject: operator.name }),
    }),
  );
}

function shown(rotation: ResponseOf<'getRotation'>): Result {
  const rows = rotation.versions.map((version) => {
    const wait =
      version.destroyable_in_s === null
        ? ''
        : `, destroyable ${version.destroyable_in_s === 0 ? 'now' : `in ${Math.ceil(version.destroyable_in_s / 3600)} h of service`}`;
    return `  version ${version.version}  ${version.state.padEnd(12)}  ${version.client_secrets} client secrets, ${version.wallets} wallets${wait}`;
  });
  return {
    data: rotation,
    lines: [
      rotation.running ? `Rewrapping: ${rotation.done} of ${rotation.total} done.` : 'No rotation is under way.',
      ...rows,
    ],
  };
}
