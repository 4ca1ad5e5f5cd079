/**
 * A file that comes as `multipart/form-data` (RFC 7578): one part `file` of `application/octet-stream`, and text fields.
 * `binding.ts` reads the endpoints with an `upload` through it. The form is parsed by the platform's own parser, from
 * bytes that were bounded before; nothing is written to disk.
 */
import { FILE_BYTES_MAX, KedgeError } from '@kedge/core';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { RequestInvalid } from './problems.ts';

/** Room for the fields and the boundaries around the file. */
export const UPLOAD_BYTES_MAX = FILE_BYTES_MAX + 64 * 1024;
const NAME_CHARS_MAX = 255;

export interface UploadedForm {
  readonly file: { readonly bytes: Uint8Array; readonly name: string | null };
  readonly fields: Readonly<Record<string, string>>;
}

/** Bodies of this type are kept as bytes, for routes that say they take them; all others answer 415. */
export function acceptForms(app: FastifyInstance): void {
  app.addContentTypeParser('multipart/form-data', { parseAs: 'buffer' }, (request, body, done) => {
    const takes = (request.routeOptions.config as { upload?: boolean }).upload === true;
    if (takes) done(null, body);
    else done(new KedgeError('media_type_unsupported'));
  });
}

/** Throws `media_type_unsupported`, `request_too_large`, `RequestInvalid`. */
export async function readForm(request: FastifyRequest): Promise<UploadedForm> {
  const type = request.headers['content-type'];
  if (!(request.body instanceof Uint8Array) || type === undefined)
    throw new KedgeError('media_type_unsupported', 'This endpoint takes multipart/form-data.');
  const form = await parse(request.body, type);
  const files = form.filter((entry): entry is [string, File] => typeof entry[1] !== 'string');
  const [first] = files;
  if (files.length !== 1 || first?.[0] !== 'file')
    throw new RequestInvalid([{ path: 'body.file', message: 'the form must hold exactly one file, named file' }]);
  const [, file] = first;
  if (file.type !== 'application/octet-stream')
    throw new KedgeError('media_type_unsupported', 'The file is not of the type application/octet-stream.');
  if (file.size > FILE_BYTES_MAX) throw new KedgeError('request_too_large', 'The file is larger than 10 MiB.');
  const texts = form.filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  if (new Set(texts.map(([name]) => name)).size !== texts.length)
    throw new RequestInvalid([{ path: 'body', message: 'a field comes twice' }]);
  const name = /^\P{C}+$/u.test(file.name) && file.name.length <= NAME_CHARS_MAX ? file.name : null;
  return { file: { bytes: new Uint8Array(await file.arrayBuffer()), name }, fields: Object.fromEntries(texts) };
}

async function parse(body: Uint8Array, type: string): Promise<[string, File | string][]> {
  try {
    const form = await new Response(new Uint8Array(body), { headers: { 'content-type': type } }).formData();
    const entries: [string, File | string][] = [];
    form.forEach((value, name) => {
      entries.push([name, value]);
    });
    return entries;
  } catch {
    throw new RequestInvalid([{ path: 'body', message: 'not well-formed multipart/form-data' }]);
  }
}
