/** Test support: an HTTP server that answers JSON-RPC as a test wants it to, lies included, and calls to anvil's own methods. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { withNode } from './node.ts';

export type Json = string | number | boolean | null | undefined | readonly Json[] | { readonly [key: string]: Json };
/** A value is sent as the result; a function answers by itself. */
export type Answer = Json | ((response: ServerResponse, id: number, params: readonly unknown[]) => void);
export type Answers = Readonly<Record<string, Answer>>;

/** A server that answers each method so, and its URL while `work` runs. */
export function withJsonRpc<T>(answers: Answers, work: (url: string) => Promise<T>): Promise<T> {
  return withNode(
    (response, { body }) => {
      const { id, method, params } = JSON.parse(body) as { id: number; method: string; params: unknown[] };
      const answer = answers[method];
      if (typeof answer === 'function') answer(response, id, params);
      else if (answer === undefined) refuse(`no method ${method}`, -32_601)(response, id);
      else response.end(result(id, answer));
    },
    ({ url }) => work(url),
  );
}

export function result(id: number, value: unknown): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result: value });
}

export function refuse(message: string, code = -32_000): (response: ServerResponse, id: number) => void {
  return (response, id) => void response.end(JSON.stringify({ jsonrpc: '2.0', id, error: { code, message } }));
}

export async function anvil(url: string, method: string, params: readonly unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  const answer = (await response.json()) as { error?: unknown; result?: unknown };
  assert.equal(answer.error, undefined);
  return answer.result;
}
