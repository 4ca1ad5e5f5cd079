/**
 * The house rules as tests: who may import whom, directly and through others, and the few habits that keep the source
 * readable. The tables below are those of docs/concepts.md; whoever needs another import changes the table first, and says
 * why. Imports are read with TypeScript's own parser: `import`, `export … from`, `import()`, and types apart from values.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = dirname(fileURLToPath(import.meta.url));
const LINES_MAX = 900;

/** What the sources of each package may import of ours, types included. Tests may import more. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  core: [],
  mpc: [],
  store: [],
  devnet: [],
  chains: ['@kedge/core'],
  enclave: ['@kedge/core', '@kedge/core/private-keys', '@kedge/mpc', '@kedge/chains', '@kedge/store'],
  server: ['@kedge/core', '@kedge/chains', '@kedge/store', '@kedge/enclave/client'],
  sdk: ['@kedge/core', '@kedge/core/private-keys', '@kedge/mpc', '@kedge/chains'],
  cli: ['@kedge/core', '@kedge/chains', '@kedge/sdk', '@kedge/sdk/offline'],
  web: ['@kedge/core', '@kedge/chains', '@kedge/sdk'],
};

const entries = {
  gateway: 'packages/server/src/main.ts',
  enclave: 'packages/enclave/src/main.ts',
  cli: 'packages/cli/src/main.ts',
  sdk: 'packages/sdk/src/index.ts',
  offline: 'packages/sdk/src/offline/index.ts',
  devnet: 'packages/devnet/src/main.ts',
} as const;

/** Where time and output may be taken from the machine itself. */
const readsTheClock = ['packages/core/src/clock.ts', 'packages/sdk/src/connection.ts', 'packages/sdk/src/prove.ts'];
const printsToThePerson = /^(packages\/(cli|devnet)|scripts|bench|examples|journeys)\//;
const networkModules = ['http', 'https', 'http2', 'net', 'tls', 'dgram', 'dns', 'undici'];
const networkGlobals = /\b(fetch|WebSocket|XMLHttpRequest|EventSource)\s*\(/;

interface Import {
  readonly specifier: string;
  /** Erased before it runs. */
  readonly typeOnly: boolean;
}

const isTest = (file: string) => /\.(test|slow)\.ts$/.test(file) || isTestSupport(file);
const isTestSupport = (file: string) => /(^|\/)testing\//.test(file) || /(^|[./])conformance\.ts$/.test(file);
const isShipped = (file: string) => file.startsWith('packages/') && !isTest(file);
const packageOf = (file: string) => file.split('/')[1]!;

const files = ['packages', 'journeys', 'bench', 'examples', 'scripts'].flatMap((folder) => [...walk(folder)]);
const sources = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]));

function* walk(folder: string): Generator<string> {
  if (!existsSync(join(root, folder))) return;
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    if (['node_modules', 'dist', 'migrations'].includes(entry.name)) continue;
    if (entry.isDirectory()) yield* walk(`${folder}/${entry.name}`);
    else if (entry.name.endsWith('.ts')) yield `${folder}/${entry.name}`;
  }
}

const parsed = new Map<string, readonly Import[]>();
function importsOf(file: string): readonly Import[] {
  const known = parsed.get(file);
  if (known) return known;
  const found: Import[] = [];
  const add = (node: ts.Node | undefined, typeOnly: boolean) => {
    if (node && ts.isStringLiteralLike(node)) found.push({ specifier: node.text, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly ?? false);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    else if (
      ts.isCallExpression(node) &&
      (node.expression.kind === ts.SyntaxKind.ImportKeyword || node.expression.getText() === 'require')
    )
      add(node.arguments[0], false);
    else if (
      ts.isNewExpression(node) &&
      node.expression.getText() === 'Worker' &&
      node.arguments?.[0] &&
      ts.isNewExpression(node.arguments[0])
    ) {
      add(node.arguments[0].arguments?.[0], false); // new Worker(new URL('./file.ts', import.meta.url)); a process of its own is no import
    }
    ts.forEachChild(node, visit);
  };
  visit(
    ts.createSourceFile(
      file,
      sources.get(file) ?? readFileSync(join(root, file), 'utf8'),
      ts.ScriptTarget.Latest,
      true,
    ),
  );
  parsed.set(file, found);
  return found;
}

/** The file of ours that an import means; null for a package of others or of Node. */
function resolve(from: string, specifier: string): string | null {
  if (specifier.startsWith('.')) return relative(root, join(root, dirname(from), specifier));
  const [, name, subpath] = /^@kedge\/([^/]+)(\/.*)?$/.exec(specifier) ?? [];
  if (name === undefined) return null;
  const { exports } = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8')) as {
    exports: Record<string, { '@kedge/source': string }>;
  };
  const target = exports[`.${subpath ?? ''}`];
  assert.notEqual(target, undefined, `${from} imports ${specifier}, which is not exported`);
  return join('packages', name, target!['@kedge/source']);
}

/** Everything an entry pulls in when it runs: our files with the way to each, and the packages of others. */
function reachedFrom(entry: string): { files: ReadonlyMap<string, string>; packages: ReadonlyMap<string, string> } {
  const found = new Map<string, string>([[entry, entry]]);
  const packages = new Map<string, string>();
  for (const [file, way] of found) {
    for (const { specifier, typeOnly } of importsOf(file)) {
      if (typeOnly) continue;
      const target = resolve(file, specifier);
      if (target === null) packages.set(specifier, way);
      else if (!found.has(target)) found.set(target, `${way} → ${target}`);
    }
  }
  return { files: found, packages };
}

function assertNever(found: ReadonlyMap<string, string>, forbidden: (name: string) => boolean, why: string): void {
  const ways = [...found].filter(([name]) => forbidden(name)).map(([name, way]) => `${name} by ${way}`);
  assert.deepEqual(ways, [], why);
}

describe('what a process can reach', () => {
  const never = (entry: keyof typeof entries, forbidden: RegExp, why: string) =>
    assertNever(reachedFrom(entries[entry]).files, (file) => forbidden.test(file), why);

  test('the gateway reaches no share, no key and nothing of the enclave but its client', () => {
    never('gateway', /^packages\/(mpc|sdk|cli)\//, 'the gateway has no way to use a share');
    const allowed = ['client.ts', 'enclave.ts', 'wire.ts'].map((file) => `packages/enclave/src/${file}`);
    assertNever(
      reachedFrom(entries.gateway).files,
      (file) => file.startsWith('packages/enclave/') && !allowed.includes(file),
      'only the client of the enclave',
    );
  });

  test('private derivation is for key holders: neither gateway nor chains reach it', () => {
    const privateKeys = (file: string) => file === 'packages/core/src/private-keys.ts';
    assertNever(reachedFrom(entries.gateway).files, privateKeys, 'the gateway derives no secret');
    for (const file of files.filter((file) => isShipped(file) && packageOf(file) === 'chains'))
      assertNever(reachedFrom(file).files, privateKeys, 'chains hold public data only');
  });

  test('the enclave reaches neither gateway nor SDK, and no HTTP', () => {
    never('enclave', /^packages\/(server|sdk|cli|web|devnet)\//, 'the enclave is asked, it asks nobody');
    assertNever(
      reachedFrom(entries.enclave).packages,
      (name) => ['http', 'https', 'http2', 'undici', 'fastify'].includes(name.replace('node:', '')),
      'one narrow socket',
    );
  });

  test('offline recovery reaches no network', () => {
    const { files: reached, packages } = reachedFrom(entries.offline);
    assertNever(
      reached,
      (file) => file === 'packages/sdk/src/client.ts' || file === 'packages/sdk/src/connection.ts',
      'offline means offline',
    );
    assertNever(packages, (name) => networkModules.includes(name.replace('node:', '')), 'offline means offline');
    assertNever(reached, (file) => networkGlobals.test(withoutComments(file)), 'offline means offline');
  });

  test('the SDK runs in a browser: it reaches nothing of Node', () => {
    assertNever(reachedFrom(entries.sdk).packages, isBuiltin, 'a browser has no such module');
    never('sdk', /^packages\/(server|enclave|store|cli)\//, 'the holder’s side only');
  });

  for (const [name, entry] of Object.entries(entries)) {
    test(`what is shipped as ${name} reaches no test and no package that is not shipped with it`, () => {
      const { files: reached, packages } = reachedFrom(entry);
      assertNever(reached, isTest, 'test support never ships');
      assertNever(
        packages,
        (specifier) => specifier === 'node:test' || specifier.startsWith('node:assert'),
        'test support never ships',
      );
      for (const file of reached.keys()) {
        const own = dependenciesOf(packageOf(file));
        const missing = importsOf(file)
          .filter(({ specifier, typeOnly }) => !typeOnly && !specifier.startsWith('.') && !isBuiltin(specifier))
          .map(({ specifier }) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/'))
          .filter((specifier) => !own.has(specifier));
        assert.deepEqual(missing, [], `${file} imports what its package.json does not name as a dependency`);
      }
    });
  }
});

describe('what a package may import', () => {
  for (const name of readdirSync(join(root, 'packages'))) {
    const own = files.filter((file) => isShipped(file) && packageOf(file) === name);

    test(`${name}: of ours only ${mayImport[name]?.join(', ') || 'nothing'}`, () => {
      const allowed = mayImport[name];
      assert.notEqual(allowed, undefined, `packages/${name} is not in the table`);
      for (const file of own) {
        const wrong = importsOf(file).filter(
          ({ specifier }) => specifier.startsWith('@kedge/') && !allowed!.includes(specifier),
        );
        assert.deepEqual(wrong, [], file);
      }
    });

    test(`${name}: no import climbs into another package`, () => {
      for (const file of files.filter((file) => packageOf(file) === name && file.startsWith('packages/'))) {
        const out = importsOf(file).filter(
          ({ specifier }) => specifier.startsWith('.') && !resolve(file, specifier)!.startsWith(`packages/${name}/`),
        );
        assert.deepEqual(out, [], file);
      }
    });
  }

  test('core is pure: nothing of Node', () => {
    for (const file of files.filter((file) => isShipped(file) && packageOf(file) === 'core')) {
      assert.deepEqual(
        importsOf(file).filter(({ specifier }) => isBuiltin(specifier)),
        [],
        file,
      );
    }
  });

  test('the operator’s part of the command line starts processes by path and imports none of them', () => {
    for (const file of files.filter((file) => isShipped(file) && file.startsWith('packages/cli/src/operator/'))) {
      assert.deepEqual(
        importsOf(file).filter(({ specifier }) => /^@kedge\/(server|enclave|store|mpc)/.test(specifier)),
        [],
        file,
      );
    }
  });
});

describe('the habits of the house', () => {
  const offenders = (what: (file: string, text: string) => boolean, among: (file: string) => boolean = () => true) =>
    [...sources].filter(([file, text]) => among(file) && what(file, text)).map(([file]) => file);

  test('every file opens by saying what it is', () => {
    assert.deepEqual(
      offenders((_file, text) => !/^(#!.*\n)?\/\*\*/.test(text)),
      [],
    );
  });

  test('no file is a drawer: utils, helpers, misc, common', () => {
    assert.deepEqual(
      offenders((file) => /(^|[/.-])(utils?|helpers?|misc|common)\.ts$/.test(file)),
      [],
    );
  });

  test(`no file has more than ${LINES_MAX} lines`, () => {
    assert.deepEqual(
      offenders((_file, text) => text.split('\n').length > LINES_MAX),
      [],
    );
  });

  test('chance comes from a cryptographic source: Math.random nowhere', () => {
    assert.deepEqual(
      offenders((file) => /Math\.random/.test(withoutComments(file))),
      [],
    );
  });

  test('time is an argument: only a clock reads the machine’s', () => {
    assert.deepEqual(
      offenders(
        (file) => /\bDate\.now\b|new Date\(\)/.test(withoutComments(file)),
        (file) => isShipped(file) && !readsTheClock.includes(file),
      ),
      [],
    );
  });

  test('only what talks to a person prints', () => {
    assert.deepEqual(
      offenders(
        (file) => /\bconsole\./.test(withoutComments(file)),
        (file) => !printsToThePerson.test(file) && !isTest(file),
      ),
      [],
    );
  });

  test('no test sleeps', () => {
    const sleeps = /timers\/promises|setTimeout\(\s*(resolve|done|\(\))/;
    assert.deepEqual(
      offenders(
        (file) => sleeps.test(withoutComments(file)),
        (file) => /\.test\.ts$/.test(file),
      ),
      [],
    );
  });

  test('no enum, no default export, no test that is skipped or runs alone', () => {
    const habits =
      /^\s*(export\s+)?(const\s+)?enum\s|^export default|\b(test|describe|it)\.(only|skip)\(|\bonly: true/m;
    assert.deepEqual(
      offenders((file) => habits.test(withoutComments(file))),
      [],
    );
  });
});

/** For rules about code: a comment may name what the code must not use. Strings with `//` lose their end, which is fine here. */
function withoutComments(file: string): string {
  return sources.get(file)!.replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, '');
}

function dependenciesOf(name: string): ReadonlySet<string> {
  const { dependencies = {} } = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  return new Set(Object.keys(dependencies));
}
