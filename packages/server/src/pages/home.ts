/**
 * The page at `/`: what runs here and the first three calls, without script. `app.ts` serves it until the web app takes
 * its place. It shows nothing that a stranger may not know, and every value is escaped.
 */
import type { ResponseOf } from '@kedge/core';

export interface Home {
  readonly url: string;
  /** Null when the enclave does not answer. */
  readonly enclave: ResponseOf<'getEnclave'> | null;
  readonly networks: readonly string[];
}

export const homeStyle = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
dt { font-weight: 600 } dd { margin: 0 0 .75rem }
pre { padding: .75rem 1rem; overflow-x: auto; border: 1px solid #8886; border-radius: .4rem }
`;

export function homePage({ url, enclave, networks }: Home): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kedge</title>
<style>${homeStyle}</style>
</head>
<body>
<main>
<h1>Kedge</h1>
<p>A self-hosted server for the keys of crypto wallets. This is its gateway.</p>
<dl>
<dt>Enclave</dt><dd>${escapeHtml(enclaveText(enclave))}</dd>
<dt>Root keys</dt><dd>${escapeHtml(enclave?.notice ?? 'unknown while the enclave does not answer')}</dd>
<dt>Chains</dt><dd>${networks.map((network) => `<code>${escapeHtml(network)}</code>`).join(', ')}</dd>
</dl>
<h2>Three calls</h2>
<pre>${escapeHtml(calls(url))}</pre>
<p><a href="/docs">All endpoints</a> · <a href="/openapi.json">OpenAPI</a> · <a href="/readyz">Readiness</a></p>
</main>
</body>
</html>
`;
}

function enclaveText(enclave: Home['enclave']): string {
  if (enclave === null) return 'does not answer';
  return enclave.sealed === null ? 'running' : `sealed: ${enclave.sealed}`;
}

function calls(url: string): string {
  return [
    `curl ${url}/v1/enclave`,
    `curl ${url}/v1/users -H "Authorization: Bearer $KEDGE_SECRET_KEY"`,
    `curl ${url}/v1/vaults -H "Authorization: Bearer $KEDGE_SECRET_KEY"`,
  ].join('\n');
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
