/**
 * `npm run devnet`: starts the engines and keeps them until SIGINT or SIGTERM. With `--json` it prints one line when all
 * of them answer, for whoever started it as a child; otherwise a line per engine for people. It keeps no state.
 */
import { startBitcoin } from './bitcoin.ts';
import { startEvm } from './evm.ts';
import { startSolana } from './solana.ts';

const starting = [startBitcoin(), startEvm(), startSolana()] as const;
const started = await Promise.allSettled(starting);
const running = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
const stopAll = (): Promise<unknown> => Promise.all(running.map((engine) => engine.stop()));
if (running.length < starting.length) await stopAll();
const [bitcoin, evm, solana] = await Promise.all(starting);

// Stopping twice is harmless, and Ctrl-C in a terminal reaches anvil too.
const stop = (): void => {
  process.stdin.destroy();
  void stopAll();
};
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop);
// A child of ours outlives nobody: the pipe ends however its parent ends.
if (process.env.KEDGE_CHILD === '1') process.stdin.once('end', stop).resume();

const line = {
  bitcoin: { esplora_url: bitcoin.esploraUrl, network: bitcoin.network },
  evm: { rpc_url: evm.rpcUrl, chain_id: evm.chainId },
  solana: { rpc_url: solana.rpcUrl },
};
const people = [
  ['bitcoin', line.bitcoin.esplora_url, `${line.bitcoin.network} (bcoin behind an Esplora interface)`],
  ['evm', line.evm.rpc_url, `chain ${line.evm.chain_id} (anvil)`],
  ['solana', line.solana.rpc_url, 'a cluster of its own (LiteSVM behind JSON-RPC)'],
] as const;

if (process.argv.includes('--json')) {
  console.log(JSON.stringify(line));
} else {
  for (const [chain, url, what] of people) console.log(`${chain.padEnd(8)} ${url}  ${what}`);
  const [chain, url] = people[0];
  console.log(`Money, worth nothing:  kedge devnet fund ${chain} ADDRESS AMOUNT --url ${url}`);
  console.log('Ctrl-C stops everything.');
}
