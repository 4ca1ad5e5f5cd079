/** `enclave`: what it says of itself, and taking restored data as it is. */

import { createClient } from '@kedge/sdk';
import { asOperator, secondOperator, serviceUrl } from '../access.ts';
import type { Command, Context, Result } from '../command.ts';

export const enclaveCommands: readonly Command[] = [
  { words: 'enclave status', usage: 'enclave status', summary: 'sealed or not, and where its keys are', run: status },
  {
    words: 'enclave accept-restore',
    usage: 'enclave accept-restore [--as OPERATOR] [--as2 OPERATOR]',
    summary: 'unseal after a restore; two operators',
    run: acceptRestore,
  },
];

async function status(context: Context): Promise<Result> {
  const enclave = await createClient({ url: serviceUrl(context), token: null }).call('getEnclave', {});
  return {
    data: enclave,
    lines: [enclave.sealed === null ? 'The enclave is open.' : `SEALED: ${enclave.sealed}.`, enclave.notice],
  };
}

async function acceptRestore(context: Context): Promise<Result> {
  const { client, connection, operator } = await asOperator(context);
  const second = await secondOperator(context, operator.name);
  const secondProof = await connection.prove(second.key, { act: 'accept_restore', subject: second.name })(1);
  const enclave = await client.call('acceptRestore', {
    body: { second_proof: secondProof },
    proof: connection.prove(operator.key, { act: 'accept_restore', subject: operator.name }),
  });
  return {
    data: enclave,
    lines: ['The enclave took the data as it is. Guess limits are halved for an hour; the ledger says who accepted.'],
  };
}
