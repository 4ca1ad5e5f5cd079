/** `user`: an account on this machine as its device. The 12 words are shown once and never stored. */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { recover, signUp } from '@kedge/sdk';
import { deviceName, openDevice, saveDevice, service } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';

export const userCommands: readonly Command[] = [
  {
    words: 'user sign-up',
    usage: 'user sign-up [--email E] [--external-id X] [--device NAME]',
    summary: 'make an account; shows its 12 words once',
    run: signUpHere,
  },
  {
    words: 'user recover',
    usage: 'user recover ACCOUNT [--words-file F] [--device NAME]',
    summary: 'recover an account with its 12 words',
    run: recoverHere,
  },
  {
    words: 'user replace-words',
    usage: 'user replace-words [--device NAME]',
    summary: 'new words; the old ones stop',
    run: replaceWords,
  },
  { words: 'user show', usage: 'user show [--device NAME]', summary: 'the account of a device', run: show },
];

async function signUpHere(context: Context): Promise<Result> {
  const email = context.flag('email');
  const externalId = context.flag('external-id');
  const { account, words } = await signUp(service(context), {
    ...(email ? { email } : {}),
    ...(externalId ? { externalId } : {}),
    label: deviceName(context),
  });
  await saveDevice(context.home, deviceName(context), account.device);
  const { userId } = account.device;
  return { data: { user_id: userId, words }, lines: [`Account ${userId}`, '', ...wordLines(words)] };
}

async function recoverHere(context: Context): Promise<Result> {
  const account = await recover(service(context), {
    account: required(context, 0, 'The account (id or e-mail)'),
    words: await readWords(context),
    label: deviceName(context),
  });
  await saveDevice(context.home, deviceName(context), account.device);
  return {
    data: { user_id: account.device.userId },
    lines: [
      `Recovered ${account.device.userId} on device ${deviceName(context)}. All other devices and sessions have ended.`,
    ],
  };
}

async function replaceWords(context: Context): Promise<Result> {
  const { words } = await (await openDevice(context)).replaceWords();
  return { data: { words }, lines: [...wordLines(words), 'The old words have stopped working.'] };
}

async function show(context: Context): Promise<Result> {
  const account = await openDevice(context);
  const user = await account.client().call('getUser', { params: { user_id: account.device.userId } });
  return { data: user, lines: [`${user.id}  ${user.email ?? ''} ${user.external_id ?? ''}  since ${user.created_at}`] };
}

function wordLines(words: string): string[] {
  return ['Write these 12 words down. They are shown this once, and they recover the account:', '', `  ${words}`, ''];
}

async function readWords(context: Context): Promise<string> {
  const file = context.flag('words-file');
  if (file) return readFileSync(file, 'utf8').trim();
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const words = await prompt.question('The 12 words: ');
  prompt.close();
  return words;
}
