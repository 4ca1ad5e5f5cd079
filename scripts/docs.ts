/**
 * Keeps the documentation equal to the code. `npm run docs` writes, `npm run docs -- --check` only says what is stale:
 * docs/errors.md and docs/api.md are made whole; in every other page the blocks between markers are:
 *
 *     <!-- table:settings -->  <!-- table:commands -->  <!-- table:doctor -->  <!-- table:warnings -->   from the code,
 *                              up to <!-- /table -->
 *     <!-- cut:NAME -->        what a journey recorded in docs/cut/NAME.txt, up to <!-- /cut -->
 *
 * It also follows every relative link and anchor.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { warningMeanings } from '@kedge/chains';
import {
  BODY_BYTES_MAX,
  type Endpoint,
  endpoints,
  errorCodes,
  errorEntry,
  LARGE_BODY_BYTES_MAX,
  type PrincipalKind,
} from '@kedge/core';
import { z } from 'zod';
import { commands } from '../packages/cli/src/commands/all.ts';
import { findingMeanings } from '../packages/cli/src/doctor/findings.ts';
import { openHome, type Settings, settingDescriptions } from '../packages/cli/src/settings.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const checking = process.argv.includes('--check');
const made = '<!-- Made by npm run docs. Change the code it is made from, not this page. -->';

function main(): void {
  const problems = [
    ...writeOrCompare('docs/errors.md', errorsPage()),
    ...writeOrCompare('docs/api.md', apiPage()),
    ...pages().flatMap((page) => writeOrCompare(page, withBlocks(readFileSync(join(root, page), 'utf8')))),
    ...pages().flatMap(brokenLinks),
  ];
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}

function writeOrCompare(page: string, text: string): string[] {
  const path = join(root, page);
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return [];
  if (checking) return [`${page} is stale. Type: npm run docs`];
  writeFileSync(path, text);
  console.log(`wrote ${page}`);
  return [];
}

function pages(): string[] {
  const found: string[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && !['node_modules', 'dist'].includes(entry.name) && !entry.name.startsWith('.'))
        walk(path);
      else if (entry.name.endsWith('.md')) found.push(path);
    }
  };
  walk('.');
  return found;
}

// ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────────

function withBlocks(text: string): string {
  const tables: Readonly<Record<string, () => string>> = {
    settings: settingsTable,
    commands: commandsTable,
    doctor: doctorTable,
    warnings: warningsTable,
  };
  return text
    .replace(
      /(<!-- table:(\w+) -->\n)[\s\S]*?(<!-- \/table -->)/g,
      (whole, open: string, name: string, close: string) =>
        tables[name] ? `${open}${tables[name]()}\n${close}` : whole,
    )
    .replace(
      /(<!-- cut:([\w-]+) -->\n)[\s\S]*?(<!-- \/cut -->)/g,
      (whole, open: string, name: string, close: string) => {
        const file = join(root, 'docs', 'cut', `${name}.txt`);
        return existsSync(file)
          ? `${open}\`\`\`text\n${readFileSync(file, 'utf8').trimEnd()}\n\`\`\`\n${close}`
          : whole;
      },
    );
}

function settingsTable(): string {
  const { settings } = openHome('/KEDGE_HOME', {});
  const byDefault = (key: keyof Settings) => {
    const value = settings[key];
    return value === null || value === '' ? '—' : code(String(value).replace('/KEDGE_HOME', '$KEDGE_HOME'));
  };
  return table(
    ['kedge.toml', 'environment', 'by default', ''],
    (Object.keys(settingDescriptions) as (keyof Settings)[]).map((key) => [
      code(key),
      code(`KEDGE_${key.replaceAll('.', '_').toUpperCase()}`),
      byDefault(key),
      settingDescriptions[key],
    ]),
  );
}

function commandsTable(): string {
  return table(
    ['command', ''],
    commands.map(({ usage, summary }) => [
      code(`kedge ${usage}`),
      `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`,
    ]),
  );
}

function doctorTable(): string {
  return table(
    ['code', 'found'],
    findingMeanings.map(([finding, meaning]) => [code(finding), meaning]),
  );
}

function warningsTable(): string {
  return table(
    ['warning', 'what to do'],
    Object.entries(warningMeanings).map(([warning, meaning]) => [code(warning), meaning]),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

// ── whole pages ──────────────────────────────────────────────────────────────────────────────────────────────────

function errorsPage(): string {
  const rows = errorCodes
    .map(errorEntry)
    .map(({ code: name, status, title, nextStep }) => [code(name), String(status), title, nextStep]);
  return `${made}

# Errors

Every failure of the API is a problem details document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with
\`type, title, status, code, detail, next_step, request_id\`. \`code\` is stable: programs should look at it and at nothing
else. \`Retry-After\` comes with those that pass by themselves.

${table(['code', 'status', 'what happened', 'what to do next'], rows)}
`;
}

const whoNames: { readonly [K in PrincipalKind]: string } = {
  anonymous: 'anybody',
  publishable_key: 'publishable key',
  secret_key: 'secret key',
  user: 'user',
  operator: 'operator',
};

function apiPage(): string {
  const objects = new Map<string, JsonSchema>();
  const entries = Object.entries(endpoints) as [string, Endpoint][];
  const sections = entries.map(([name, endpoint]) => endpointSection(name, endpoint, objects));
  const index = table(
    ['', 'path', 'who', 'proof', ''],
    entries.map(([name, { method, path, principals, proof, summary }]) => [
      code(method),
      `[${code(path)}](#${name.toLowerCase()})`,
      who(principals),
      proof ? code(proof) : '',
      summary,
    ]),
  );
  const named: string[] = [];
  for (const [name, schema] of objects)
    named.push(`### ${name}\n\n${schema.description ? `${schema.description}\n\n` : ''}${fieldTable(schema)}`);
  return `${made}

# The HTTP API

JSON over HTTP under \`/v1\`; the same as OpenAPI 3.1 at \`/openapi.json\`, with a page to try it at \`/docs\`. Times are
RFC 3339, bytes base64url unless a field says hex, amounts decimal strings in the chain's smallest unit. A body has at
most ${BODY_BYTES_MAX / 1024} KiB (with the transactions of a release ${Math.floor(LARGE_BODY_BYTES_MAX / 1024)} KiB), and a field that is not named here is refused. Lists take \`limit\` and \`cursor\` and give
\`next_cursor\`. What goes wrong is in [errors.md](errors.md).

**Who.** \`Authorization: Bearer …\` with a secret key (\`sk_…\`, a project's backend) or a JWT in its place, a publishable key (\`pk_…\`, in apps), the
session of a user (\`us_…\`) or of an operator (\`op_…\`). **Proof.** Where an act is named, the header \`Kedge-Proof\` must
carry that act, signed by an enrolled key of the user, by the operator or by the approver; the enclave checks it. **Once.** Every POST
takes \`Idempotency-Key\`: sent again with the same key within 24 hours, it has its effect once.

Beside the API: the pages that links in mails open, \`/approvals/…\` and \`/cancellations/…\`; \`/healthz\`, \`/readyz\`, \`/metrics\`, \`/.well-known/kedge-enclave.json\`, \`/.well-known/security.txt\`.

${index}

${sections.join('\n\n')}

## Objects

${named.join('\n\n')}
`;
}

interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly pattern?: string;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
  readonly id?: string;
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, JsonSchema>>;
}

function schemaOf(type: z.ZodType, io: 'input' | 'output', objects: Map<string, JsonSchema>): JsonSchema {
  const schema = z.toJSONSchema(type, { io, unrepresentable: 'any' }) as JsonSchema;
  for (const [name, definition] of Object.entries(schema.$defs ?? {})) objects.set(name, definition);
  if (schema.id) objects.set(schema.id, schema);
  return schema;
}

function endpointSection(
  name: string,
  { method, path, summary, principals, proof, query, body, upload, response, status }: Endpoint,
  objects: Map<string, JsonSchema>,
): string {
  const parts = [
    `### ${name}`,
    `${code(`${method} ${path}`)} — ${summary}`,
    `Who: ${who(principals)}.${proof ? ` Proof: ${code(proof)}.` : ''}`,
  ];
  if (query) parts.push(`Query: ${inlineFields(schemaOf(query, 'input', objects))}.`);
  if (body) parts.push(fieldTable(schemaOf(body, 'input', objects)));
  if (upload) parts.push('multipart/form-data: a part `file` of application/octet-stream, and these fields:');
  if (upload) parts.push(fieldTable(schemaOf(upload, 'input', objects)));
  const answer = schemaOf(response, 'output', objects);
  parts.push(
    status === 204
      ? 'Answers 204.'
      : `Answers ${status}: ${answer.id || answer.$ref ? typeOf(answer) : inlineFields(answer)}.`,
  );
  return parts.join('\n\n');
}

function who(principals: readonly PrincipalKind[]): string {
  return principals.includes('anonymous') && principals.length > 1
    ? 'anybody'
    : principals.map((kind) => whoNames[kind]).join(', ');
}

function inlineFields({ properties = {} }: JsonSchema): string {
  return Object.entries(properties)
    .map(([field, type]) => `${code(field)} ${typeOf(type)}`)
    .join(', ');
}

function fieldTable({ properties = {}, required = [] }: JsonSchema): string {
  const rows = Object.entries(properties).map(([field, type]) => {
    const notes = [required.includes(field) ? '' : optional(type), type.description ?? ''].filter(Boolean);
    return [code(field), typeOf(type), notes.join('. ')];
  });
  return table(['field', 'type', ''], rows);
}

function optional(type: JsonSchema): string {
  return type.default === undefined ? 'Optional' : `Otherwise ${code(JSON.stringify(type.default))}`;
}

function typeOf(type: JsonSchema): string {
  const name = type.$ref?.split('/').at(-1) ?? type.id;
  if (name) return `[${name}](#${name.toLowerCase()})`;
  if (type.enum) return type.enum.map((value) => code(String(value))).join(' or ');
  if (type.const !== undefined) return code(String(type.const));
  if (type.anyOf) return type.anyOf.map(typeOf).join(' or ');
  if (type.type === 'array') return `list of ${typeOf(type.items ?? {})}`;
  if (type.type === 'object') return type.properties ? `{ ${inlineFields(type)} }` : 'object';
  if (type.type === 'string') return stringType(type);
  if (type.type === 'integer' && type.minimum !== undefined && type.maximum !== undefined && type.maximum < 2 ** 31)
    return `integer, ${type.minimum} to ${type.maximum}`;
  return typeof type.type === 'string' ? type.type : (type.type?.join(' or ') ?? 'any');
}

function stringType({ format, pattern, maxLength }: JsonSchema): string {
  if (format === 'uuid') return 'UUID';
  if (format === 'date-time') return 'time';
  if (format === 'email') return 'e-mail';
  const most = (perByte: number, extra = 0) =>
    maxLength ? `, at most ${Math.floor((maxLength - extra) / perByte)} bytes` : '';
  if (pattern?.startsWith('^[A-Za-z0-9_-]*')) return `base64url${most(4 / 3)}`;
  if (pattern?.startsWith('^0x')) return `0x and hex${most(2, 2)}`;
  if (pattern?.includes('[0-9a-f]{2}')) return `hex${most(2)}`;
  if (pattern?.startsWith('^(0|[1-9]')) return 'amount';
  return maxLength ? `text, at most ${maxLength}` : 'text';
}

// ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────

function brokenLinks(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8').replace(/```[\s\S]*?```/g, '');
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? join(root, page) : join(root, dirname(page), path);
    if (!existsSync(target)) return [`${page} links to ${link}, which is not there.`];
    if (anchor && target.endsWith('.md') && !anchorsOf(readFileSync(target, 'utf8')).has(anchor))
      return [`${page} links to ${link}, and ${relative(root, target)} has no such heading.`];
    return [];
  });
}

/** As GitHub makes them. */
function anchorsOf(text: string): Set<string> {
  const headings = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replace(/\s/g, '-'),
    ),
  );
}

main();
