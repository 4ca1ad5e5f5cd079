/**
 * The log of the gateway: JSON lines with a request id on each. `main.ts` makes one for the process, tests pass their
 * own stream. Credentials and proofs are removed where they could turn up, and bodies are never given to it.
 */
import type { FastifyRequest } from 'fastify';
import { type DestinationStream, type Logger, pino } from 'pino';

const secretHeaders = ['authorization', 'cookie', 'kedge-proof', 'idempotency-key', 'set-cookie'];

export function createLog(level: string, stream?: DestinationStream): Logger {
  return pino(
    {
      level,
      redact: {
        paths: [
          ...secretHeaders.flatMap((name) => [`req.headers["${name}"]`, `headers["${name}"]`]),
          'body',
          'req.body',
        ],
        censor: '[redacted]',
      },
      serializers: { err: errorForLog, req: requestForLog },
    },
    stream,
  );
}

/** The route and not the URL: an app that puts a secret into a path or a query must not find it in our log. */
function requestForLog({ method, routeOptions, ip }: FastifyRequest): object {
  return { method, route: routeOptions?.url ?? 'none', remoteAddress: ip };
}

/** Without the properties that drivers hang on their errors, which may hold values of rows. */
function errorForLog(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack, cause } = error;
  const code = (error as { code?: unknown }).code;
  return {
    name,
    message,
    stack,
    ...(typeof code === 'string' ? { code } : {}),
    ...(cause === undefined ? {} : { cause: errorForLog(cause) }),
  };
}
