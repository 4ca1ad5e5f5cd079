/**
 * Runs the integration against a service: `KEDGE_URL`, `KEDGE_SECRET_KEY`, `KEDGE_PUBLISHABLE_KEY` (for its pin) and
 * `KEDGE_PROJECT` say which, then
 * `node --conditions=@kedge/source --import tsx examples/backup-key-integration/main.ts CUSTOMER OWNER_XPUB PLATFORM_XPUB`
 * makes a wallet on Bitcoin's signet, and the same without arguments checks all of them.
 */
import { bitcoinNetworks } from '@kedge/chains';
import { backupKeys, createClient, thumbprintOf } from '@kedge/sdk';
import { openCustomers } from './customers.ts';
import { createWallet, findUnrecoverable, type Integration } from './integration.ts';

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`Set ${name}.`);
  return value;
}

const integration: Integration = {
  service: backupKeys({
    client: createClient({ url: setting('KEDGE_URL'), token: setting('KEDGE_SECRET_KEY') }),
    pin: thumbprintOf(setting('KEDGE_PUBLISHABLE_KEY')),
    project: setting('KEDGE_PROJECT'),
  }),
  customers: openCustomers('customers.json'),
  network: bitcoinNetworks.signet,
};

const [customer, owner, platform] = process.argv.slice(2);
if (customer && owner && platform) {
  const { descriptor, firstAddress } = await createWallet(integration, customer, { owner, platform });
  console.log(`${firstAddress}\n${descriptor}`);
} else {
  const found = await findUnrecoverable(integration);
  for (const [name, reason] of found) console.log(`${name}: ${reason}`);
  console.log(`${integration.customers.all().length} checked, ${found.size} need attention`);
  process.exitCode = found.size > 0 ? 1 : 0;
}
