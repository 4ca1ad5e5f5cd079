/** JSON-RPC 2.0 over HTTP, for the chains whose nodes speak it. Retries and limits are those of `http.ts`. */
import { printable } from './chain.ts';
import { createHttp, type EndpointOptions, type Http, type Lies, NodeRefusal, readJson, readRecord } from './http.ts';

export interface JsonRpc {
  /** Throws {@link NodeRefusal} for an error answer, and what {@link Http.ask} throws. */
  ask<T>(method: string, params: readonly unknown[], read: (result: unknown, lies: Lies) => T): Promise<T>;
}

/** `check` asks each endpoint once whether it is the right one. */
export function createJsonRpc(options: EndpointOptions, check: (ask: JsonRpc['ask']) => Promise<void>): JsonRpc {
  let lastId = 0;
  const over =
    (ask: Http['ask']): JsonRpc['ask'] =>
    (method, params, read) => {
      const id = ++lastId;
      const body = JSON.stringify({ jsonrpc: '2.0', id, method, params });
      return ask({ body }, (text, lies) => {
        const answer = readRecord(readJson(text, lies), 'an answer', lies);
        if (answer.id !== id) throw lies('it answers another question');
        if (answer.error !== undefined && answer.error !== null) {
          const { code, message } = readRecord(answer.error, 'an error', lies);
          throw new NodeRefusal(method, typeof code === 'number' ? code : 0, printable(message));
        }
        if (answer.result === undefined) throw lies(`its answer to ${method} is empty`);
        return read(answer.result, lies);
      });
    };
  const http = createHttp(options, (ask) => check(over(ask)));
  const keys = options.urls.flatMap(keysIn);
  const ask = over(http.ask);
  return {
    ask: (method, params, read) =>
      ask(method, params, read).catch((error: unknown) => {
        throw error instanceof NodeRefusal ? withoutKeys(error, method, keys) : error;
      }),
  };
}

/** What of a URL may be an API key. Servers like to repeat it: “Cannot POST /v3/…”. */
function keysIn(url: string): readonly string[] {
  const { pathname, searchParams } = new URL(url);
  return [...pathname.split('/'), ...searchParams.values()].filter((part) => part.length >= KEY_LENGTH_MIN);
}

/** Shorter parts name a version or a chain. */
const KEY_LENGTH_MIN = 8;

function withoutKeys(refusal: NodeRefusal, method: string, keys: readonly string[]): NodeRefusal {
  const reason = keys.reduce((text, key) => text.replaceAll(key, '…'), refusal.reason);
  return reason === refusal.reason ? refusal : new NodeRefusal(method, refusal.status, reason);
}
