/**
 * The OpenAPI 3.1 document, made from core's table of endpoints and nothing else, so it can't differ from what is
 * served. `app.ts` publishes it at `/openapi.json` and shows it at `/docs`. Schemas with a name in core become
 * components.
 */
import {
  BODY_BYTES_MAX,
  type Endpoint,
  type EndpointName,
  endpoints,
  errorCodes,
  PROOF_CHARS_MAX,
  type PrincipalKind,
  problemSchema,
} from '@kedge/core';
import { z } from 'zod';

type Json = Record<string, unknown>;

const securityOf: { readonly [K in PrincipalKind]: Json } = {
  anonymous: {},
  publishable_key: { publishable_key: [] },
  secret_key: { secret_key: [] },
  user: { user: [] },
  operator: { operator: [] },
};

const bearer = (description: string): Json => ({ type: 'http', scheme: 'bearer', description });

export function openApiDocument(url: string): Json {
  const components: Json = {};
  const paths: Record<string, Json> = {};
  const schemaOf = (schema: z.ZodType, io: 'input' | 'output') => jsonSchemaOf(schema, io, components);
  const problem = { content: { 'application/problem+json': { schema: schemaOf(problemSchema, 'output') } } };

  for (const name of Object.keys(endpoints) as EndpointName[]) {
    const endpoint: Endpoint = endpoints[name];
    const path: Json = paths[endpoint.path] ?? {};
    paths[endpoint.path] = path;
    path[endpoint.method.toLowerCase()] = {
      operationId: name,
      summary: endpoint.summary,
      tags: [endpoint.path.split('/')[2]],
      security: endpoint.principals.map((kind) => securityOf[kind]),
      parameters: [
        ...parametersOf('path', endpoint.params, schemaOf),
        ...parametersOf('query', endpoint.query, schemaOf),
        ...(endpoint.proof ? [proofParameter(endpoint.proof)] : []),
        ...(endpoint.method === 'POST' ? [idempotencyParameter] : []),
      ],
      ...(endpoint.body
        ? {
            requestBody: {
              required: true,
              content: { 'application/json': { schema: schemaOf(endpoint.body, 'input') } },
            },
          }
        : {}),
      ...(endpoint.upload
        ? {
            requestBody: {
              required: true,
              content: { 'multipart/form-data': { schema: formOf(schemaOf(endpoint.upload, 'input')) } },
            },
          }
        : {}),
      responses: {
        [endpoint.status]:
          endpoint.status === 204
            ? { description: 'Done.' }
            : {
                description: 'Done.',
                content: { 'application/json': { schema: schemaOf(endpoint.response, 'output') } },
              },
        '4XX': { description: 'The request was refused; nothing was changed.', ...problem },
        '5XX': { description: 'The service could not answer.', ...problem },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Kedge',
      version: '0.1.0',
      description: `Keys of crypto wallets, self-hosted. Bodies are JSON of at most ${BODY_BYTES_MAX / 1024} KiB; fields that are not named here are refused. Errors are problem details (RFC 9457) whose \`code\` is one of: ${errorCodes.join(', ')}.`,
    },
    servers: [{ url }],
    paths,
    components: {
      schemas: components,
      securitySchemes: {
        publishable_key: bearer('`pk_…`, for apps: signs up, signs in and recovers, and pins the enclave.'),
        secret_key: bearer('`sk_…`, for the backend of a project: reads all of it; or a web token made with one.'),
        user: bearer('`us_…`, the session of a user.'),
        operator: bearer('`op_…`, the session of an operator.'),
      },
    },
  };
}

/** The fields, and the file beside them. */
function formOf(fields: Json): Json {
  const file = { type: 'string', contentMediaType: 'application/octet-stream' };
  const { properties = {}, required = [] } = fields as { properties?: Json; required?: string[] };
  return { ...fields, properties: { file, ...properties }, required: ['file', ...required] };
}

type SchemaOf = (schema: z.ZodType, io: 'input' | 'output') => Json;

function parametersOf(where: 'path' | 'query', schema: z.ZodObject | undefined, schemaOf: SchemaOf): Json[] {
  if (schema === undefined) return [];
  return Object.entries(schema.shape).map(([name, field]) => ({
    name,
    in: where,
    required: where === 'path' || !(field as z.ZodType).safeParse(undefined).success,
    schema: schemaOf(field as z.ZodType, 'output'),
  }));
}

function proofParameter(act: string): Json {
  return {
    name: 'Kedge-Proof',
    in: 'header',
    required: true,
    description: `Proof of the act \`${act}\`, signed by an enrolled key; see docs/formats.md.`,
    schema: { type: 'string', maxLength: PROOF_CHARS_MAX },
  };
}

const idempotencyParameter: Json = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'Sent again with the same key within 24 hours, the request has its effect once.',
  schema: { type: 'string', pattern: '^[!-~]{1,128}$' },
};

/** Named schemas move into `components` and are referred to. */
function jsonSchemaOf(schema: z.ZodType, io: 'input' | 'output', components: Json): Json {
  const made = z.toJSONSchema(schema, { io, target: 'draft-2020-12', unrepresentable: 'any' }) as Json;
  const { $schema: _, $defs = {}, ...rest } = made;
  const moved = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value).replaceAll('#/$defs/', '#/components/schemas/'));
  for (const [name, definition] of Object.entries($defs as Json))
    components[name] = withoutId(moved(definition) as Json);
  const { id } = rest;
  if (typeof id !== 'string') return moved(rest) as Json;
  components[id] = withoutId(moved(rest) as Json);
  return { $ref: `#/components/schemas/${id}` };
}

function withoutId({ id: _, ...rest }: Json): Json {
  return rest;
}
