/**
 * `npm run devnet`: starts the engines and keeps them until SIGINT or SIGTERM. With `--json` it prints one line when all
 * of them answer, for whoever started it as a child; otherwise a line per engine for people. It keeps no state.
 */
import { startEvm } from './evm.ts';

const evm = await startEvm();
// Stopping twice is harmless, and Ctrl-C in a terminal reaches the engine too.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void evm.stop());

if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ evm: { rpc_url: evm.rpcUrl, chain_id: evm.chainId } }));
} else {
  console.log(`evm      ${evm.rpcUrl}  chain ${evm.chainId}  (anvil; its money is worth nothing)`);
  console.log('Ctrl-C stops it.');
}
