/** `project`, `key`, `operator`: tenants, their API keys, and who may act for the operator. */
import { type Scope, scopes } from '@kedge/core';
import { asOperator } from '../access.ts';
import { type Command, type Context, type Result, required } from '../command.ts';
import { createOperator, operatorKeys } from '../operators.ts';

export const projectCommands: readonly Command[] = [
  {
    words: 'project create',
    usage: 'project create NAME [--environment sandbox|production]',
    summary: 'make a project',
    run: createProject,
  },
  { words: 'project list', usage: 'project list', summary: 'all projects', run: listProjects },
  {
    words: 'key create',
    usage: 'key create --project ID [--kind secret|publishable] [--label TEXT] [--scopes SCOPE,…]',
    summary: 'make an API key, perhaps limited to scopes; shown once',
    run: createKey,
  },
  { words: 'key list', usage: 'key list --project ID', summary: 'the API keys of a project', run: listKeys },
  {
    words: 'key revoke',
    usage: 'key revoke KEY_ID --project ID',
    summary: 'revoke an API key at once',
    run: revokeKey,
  },
  { words: 'operator create', usage: 'operator create NAME', summary: 'make an operator credential', run: newOperator },
  { words: 'operator list', usage: 'operator list', summary: 'the operators of this state folder', run: listOperators },
];

async function createProject(context: Context): Promise<Result> {
  const environment = context.flag('environment') ?? 'sandbox';
  if (environment !== 'sandbox' && environment !== 'production')
    throw new Error('The environment is sandbox or production.');
  const { client } = await asOperator(context);
  const project = await client.call('createProject', {
    body: { name: required(context, 0, 'The name of the project'), environment },
  });
  return { data: project, lines: [`${project.id}  ${project.name} (${project.environment})`] };
}

async function listProjects(context: Context): Promise<Result> {
  const { data } = await (await asOperator(context)).client.call('listProjects', { query: { limit: 100 } });
  return { data, lines: data.map((project) => `${project.id}  ${project.environment.padEnd(10)}  ${project.name}`) };
}

async function createKey(context: Context): Promise<Result> {
  const kind = context.flag('kind') ?? 'secret';
  if (kind !== 'secret' && kind !== 'publishable') throw new Error('The kind is secret or publishable.');
  const limits = scopesOf(context);
  const { client } = await asOperator(context);
  const key = await client.call('createApiKey', {
    params: { project_id: await projectOf(context, client) },
    body: { kind, label: context.flag('label') ?? 'key', ...limits },
  });
  return { data: key, lines: [key.key, 'Shown this once: keep it now.'] };
}

function scopesOf(context: Context): { scopes?: Scope[] } {
  const given = context.flag('scopes')?.split(/[\s,]+/);
  if (given === undefined) return {};
  const unknown = given.find((text) => !scopes.some((scope) => scope === text));
  if (unknown !== undefined) throw new Error(`There is no scope "${unknown}": ${scopes.join(', ')}.`);
  return { scopes: given as Scope[] };
}

async function listKeys(context: Context): Promise<Result> {
  const { client } = await asOperator(context);
  const { data } = await client.call('listApiKeys', {
    params: { project_id: await projectOf(context, client) },
    query: { limit: 100 },
  });
  return {
    data,
    lines: data.map(
      (key) =>
        `${key.id}  ${key.kind.padEnd(11)}  ${key.hint}…  ${key.label}${key.scopes ? `  [${key.scopes.join(' ')}]` : ''}${key.revoked_at ? `  revoked ${key.revoked_at}` : ''}`,
    ),
  };
}

async function revokeKey(context: Context): Promise<Result> {
  const { client } = await asOperator(context);
  const id = required(context, 0, 'The id of the key');
  await client.call('revokeApiKey', { params: { project_id: await projectOf(context, client), api_key_id: id } });
  return { data: { revoked: id }, lines: [`Revoked ${id}.`] };
}

/** `--project`, or the only project there is. */
async function projectOf(context: Context, client: Awaited<ReturnType<typeof asOperator>>['client']): Promise<string> {
  const given = context.flag('project');
  if (given) return given;
  const { data } = await client.call('listProjects', {});
  if (data.length !== 1) throw new Error('There is more than one project: name it with --project ID.');
  return data[0]!.id;
}

async function newOperator(context: Context): Promise<Result> {
  const { name } = await createOperator(context.home, required(context, 0, 'The name of the operator'));
  const key = operatorKeys(context.home)[name];
  return {
    data: { name, key, file: context.home.file('operators', `${name}.json`) },
    lines: [
      `${name}  ${key}`,
      `Its credential: ${context.home.file('operators', `${name}.json`)}. The enclave knows it from its next start on.`,
    ],
  };
}

async function listOperators({ home }: Context): Promise<Result> {
  const keys = operatorKeys(home);
  return { data: keys, lines: Object.entries(keys).map(([name, key]) => `${name}  ${key}`) };
}
