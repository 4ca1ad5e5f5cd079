/**
 * Remembers every buffer that is allocated while something runs, so that a test can look for secrets in all of them
 * afterwards, private fields and forgotten temporaries included. Arrays that existed before are not seen. Tests only.
 */
export function recordArrays<T>(run: () => T): { readonly result: T; readonly buffers: readonly ArrayBufferLike[] } {
  const buffers = new Set<ArrayBufferLike>();
  const names = ['ArrayBuffer', 'Uint8Array', 'Int32Array', 'Uint32Array', 'Float64Array', 'BigUint64Array'] as const;
  const globals = globalThis as unknown as Record<string, NewableFunction>;
  const originals = names.map((name) => globals[name]!);
  originals.forEach((original, k) => {
    const recording: NewableFunction = new Proxy(original, {
      construct(target, values, newTarget) {
        const made = Reflect.construct(target, values, newTarget === recording ? target : newTarget) as
          | ArrayBuffer
          | ArrayBufferView;
        buffers.add(ArrayBuffer.isView(made) ? made.buffer : made);
        return made;
      },
    });
    globals[names[k]!] = recording;
    // `slice` and `map` ask the prototype which constructor to use.
    original.prototype.constructor = recording;
  });
  try {
    return { result: run(), buffers: [...buffers] };
  } finally {
    originals.forEach((original, k) => {
      globals[names[k]!] = original;
      original.prototype.constructor = original;
    });
  }
}
