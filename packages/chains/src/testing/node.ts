/** Nodes that answer as a test says: rightly, wrongly, late, or not at all. On 127.0.0.1, one port each, for a test's length. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly body: string;
}

export type Behaviour = (response: ServerResponse, asked: Asked) => void;

export interface TestNode {
  readonly url: string;
  /** Everything that it was asked, in order. */
  readonly asked: readonly Asked[];
}

export async function withNode<T>(behaviour: Behaviour, work: (node: TestNode) => Promise<T>): Promise<T> {
  const all: Asked[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const asked = { method: request.method ?? '', path: request.url ?? '', body };
    all.push(asked);
    behaviour(response, asked);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await work({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: all });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** A URL at which nobody listens. */
export function deadUrl(): Promise<string> {
  return withNode(
    () => {},
    async ({ url }) => url,
  );
}

/** The ways in which a server fails whatever it is asked. */
export const failures: Readonly<Record<string, Behaviour>> = {
  'answers with HTTP 500': (response) => void response.writeHead(500).end('{}'),
  'is asked too often': (response) => void response.writeHead(429).end('slow down'),
  'wants to be paid': (response) => void response.writeHead(402).end('quota exceeded'),
  'sends us elsewhere': (response) => void response.writeHead(307, { location: '/' }).end(),
  'never answers': () => {},
  'answers byte by byte and never ends': (response) => void response.write('{'),
  'breaks off': (response) =>
    void response.writeHead(200, { 'content-length': 99 }).write('{', () => response.destroy()),
  'hangs up': (response) => void response.destroy(),
};
