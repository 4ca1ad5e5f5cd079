/** A drill certificate read by somebody who has two files and no network. */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import {
  canonicalJson,
  concatBytes,
  type DrillCertificate,
  fromBase64Url,
  toBase64Url,
  utf8ToBytes,
} from '@kedge/core';
import { isDrillPassed, verifyDrillCertificate } from './drill-certificate.ts';

const said: DrillCertificate = {
  project: 'p',
  recovery: 'r',
  user: 'customer-17',
  key_id: 'k',
  key_type: 'secp256k1',
  key_environment: 'HOT',
  public_key: '02',
  key_outcome: 'passed',
  backup_outcome: 'passed',
  approver_list: 'l',
  approvals: ['ada', 'bert'],
  rejections: [],
  needed: 2,
  throw_away_public_key: '03',
  network: 'bip122:0f9188f13cb7b2c71f2a335e3a4fc328',
  transactions: ['00'],
  signatures: 1,
  issued_at: '2026-11-21T10:00:00.000Z',
};

const enclave = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwkOf = ({ publicKey }: { publicKey: KeyObject }) => {
  const { x, y } = publicKey.export({ format: 'jwk' });
  return { x: x!, y: y! };
};
const pinOf = (keys: { publicKey: KeyObject }) => {
  const { x, y } = jwkOf(keys);
  const identity = concatBytes(Uint8Array.of(4), fromBase64Url(x), fromBase64Url(y));
  return toBase64Url(new Uint8Array(createHash('sha256').update(identity).digest()));
};

function certify(content: object, kind = 'drill-certificate', key = enclave.privateKey) {
  const document = utf8ToBytes(canonicalJson(content));
  const message = concatBytes(utf8ToBytes(`kedge/${kind}/v1\0`), document);
  const signature = sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' });
  return { document: toBase64Url(document), signature: toBase64Url(new Uint8Array(signature)) };
}

test('a certificate that the kept key signed is read, in either spelling of base64', async () => {
  const keys = { keys: [jwkOf(stranger), jwkOf(enclave)] };
  assert.deepEqual(await verifyDrillCertificate(certify(said), keys), said);
  assert.deepEqual(await verifyDrillCertificate(certify(said), keys, pinOf(enclave)), said);
  const { document, signature } = certify(said);
  const padded = (text: string) => Buffer.from(text, 'base64url').toString('base64');
  assert.deepEqual(
    await verifyDrillCertificate({ document: padded(document), signature: padded(signature) }, keys),
    said,
  );
});

test('another key, another kind of document, a changed word and a key that is not the pinned one are refused', async () => {
  const keys = { keys: [jwkOf(enclave)] };
  const { signature } = certify(said);
  const changed = certify({ ...said, backup_outcome: 'attention' });
  for (const [lie, pin] of [
    [certify(said, 'drill-certificate', stranger.privateKey), null],
    [certify(said, 'receipt'), null],
    [{ ...changed, signature }, null],
    [certify(said), pinOf(stranger)],
    [{ document: 'not base64!', signature }, null],
  ] as const)
    await assert.rejects(verifyDrillCertificate(lie, keys, pin), { code: 'request_invalid' });
});

test('a drill passed if key and backup were good and something was signed; a cold key needs its officers', () => {
  assert.equal(isDrillPassed(said), true);
  assert.equal(isDrillPassed({ ...said, key_outcome: 'held_offline' }), true);
  assert.equal(isDrillPassed({ ...said, key_outcome: 'attention' }), false);
  assert.equal(isDrillPassed({ ...said, backup_outcome: 'not_checked' }), false);
  assert.equal(isDrillPassed({ ...said, signatures: 0 }), false);
});
