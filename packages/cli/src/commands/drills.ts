/** `drill`: what a rehearsal proved, checked with files alone; no service is asked. */
import { readFileSync } from 'node:fs';
import { type EnclaveKeys, isDrillPassed, type SignedCertificate, verifyDrillCertificate } from '@kedge/sdk/offline';
import { type Command, type Context, type Result, required } from '../command.ts';

export const drillCommands: readonly Command[] = [
  {
    words: 'drill verify',
    usage: 'drill verify CERTIFICATE_FILE --jwks FILE [--pin THUMBPRINT]',
    summary: 'whether the enclave signed a drill certificate, and what it proves; asks nobody',
    run: verify,
  },
];

async function verify(context: Context): Promise<Result> {
  const jwks = context.flag('jwks');
  if (jwks === undefined)
    throw new Error(
      'Which keys are the enclave’s? Keep the service’s /.well-known/kedge-enclave.json and give --jwks FILE.',
    );
  const certificate = readJson(required(context, 0, 'The file with the certificate')) as SignedCertificate;
  const keys = readJson(jwks) as EnclaveKeys;
  if (
    typeof certificate?.document !== 'string' ||
    typeof certificate.signature !== 'string' ||
    !Array.isArray(keys?.keys)
  )
    throw new Error('A certificate has a document and a signature, and the file of the keys has a list of keys.');
  const said = await verifyDrillCertificate(certificate, keys, context.flag('pin') ?? null);
  const passed = isDrillPassed(said);
  return {
    data: { ok: passed, certificate: said },
    exitCode: passed ? 0 : 1,
    lines: [
      `Signed by the enclave on ${said.issued_at}, for key ${said.key_id} of ${said.user} (${said.key_type}, ${said.key_environment}).`,
      `The real key: ${said.key_outcome}. Its backup: ${said.backup_outcome}.`,
      `${said.approvals.length} approved and ${said.rejections.length} rejected; ${said.needed} were needed.`,
      `A throw-away key signed ${said.signatures} inputs of ${said.transactions.length} transactions on ${said.network}.`,
      passed ? 'The drill passed.' : 'The drill did not pass: look into what is not passed above.',
    ],
  };
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    throw new Error(`There is no JSON in ${file}. Give the file as the service gave it.`);
  }
}
