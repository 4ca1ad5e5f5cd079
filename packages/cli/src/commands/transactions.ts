/** `tx`: send from a wallet of this device, and see what became of it. */
import { openDevice } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';

export const transactionCommands: readonly Command[] = [
  {
    words: 'tx send',
    usage: 'tx send WALLET_ID TO AMOUNT [--level slow|recommended|fast]',
    summary: 'send; the amount in the smallest unit',
    run: send,
  },
  { words: 'tx show', usage: 'tx show TRANSACTION_ID', summary: 'a transaction as the chain sees it now', run: show },
  { words: 'tx list', usage: 'tx list WALLET_ID', summary: 'the transactions of a wallet', run: list },
];

async function send(context: Context): Promise<Result> {
  const level = context.flag('level') ?? 'recommended';
  if (level !== 'slow' && level !== 'recommended' && level !== 'fast')
    throw new Error('The level is slow, recommended or fast.');
  const amount = required(context, 2, 'The amount');
  if (!/^[0-9]+$/.test(amount)) throw new Error('The amount is a whole number of the smallest unit (wei).');
  const account = await openDevice(context);
  const wallet = await account
    .client()
    .call('getWallet', { params: { wallet_id: required(context, 0, 'The id of the wallet') } });
  const transaction = await account.transfer(wallet, {
    to: required(context, 1, 'The address to send to'),
    amount: BigInt(amount),
    feeLevel: level,
  });
  return { data: transaction, lines: [`${transaction.id}  ${transaction.status}  ${transaction.tx_hash}`] };
}

async function show(context: Context): Promise<Result> {
  const account = await openDevice(context);
  const transaction = await account
    .client()
    .call('getTransaction', { params: { transaction_id: required(context, 0, 'The id of the transaction') } });
  return {
    data: transaction,
    lines: [
      `${transaction.id}  ${transaction.status}, ${transaction.confirmations} confirmations  ${transaction.tx_hash}`,
    ],
  };
}

async function list(context: Context): Promise<Result> {
  const account = await openDevice(context);
  const { data } = await account.client().call('listTransactions', {
    params: { wallet_id: required(context, 0, 'The id of the wallet') },
    query: { limit: 100 },
  });
  return {
    data,
    lines: data.map((transaction) => `${transaction.id}  ${transaction.status.padEnd(12)}  ${transaction.tx_hash}`),
  };
}
