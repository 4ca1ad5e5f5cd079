/**
 * A Merkle tree over the 65,536 buckets of the sealed state, whole in memory (4 MiB). Changing a bucket costs 16
 * hashes. It knows nothing of rows: `state.ts` hashes a bucket and hands the hash in.
 */
import { createHash } from 'node:crypto';

export const BUCKETS = 65_536;
const HASH = 32;

export class MerkleTree {
  /** Node n at n·32; the root is node 1, bucket b is node BUCKETS + b. */
  readonly #nodes = new Uint8Array(2 * BUCKETS * HASH);

  /** `leaves`: BUCKETS hashes, in order. */
  constructor(leaves: (bucket: number) => Uint8Array) {
    for (let bucket = 0; bucket < BUCKETS; bucket++) this.#nodes.set(leaves(bucket), (BUCKETS + bucket) * HASH);
    // Most neighbours are alike, being empty: those are hashed once.
    for (let node = BUCKETS - 1; node > 0; node--) {
      if (node + 1 < BUCKETS && (node + 1) & node && sameChildren(this.#nodes, node))
        this.#nodes.copyWithin(node * HASH, (node + 1) * HASH, (node + 2) * HASH);
      else this.#hash(node);
    }
  }

  get root(): Uint8Array {
    return this.#nodes.slice(HASH, 2 * HASH);
  }

  leaf(bucket: number): Uint8Array {
    return this.#nodes.slice((BUCKETS + bucket) * HASH, (BUCKETS + bucket + 1) * HASH);
  }

  /** Sets the leaves and gives the new root. */
  set(leaves: Iterable<readonly [bucket: number, hash: Uint8Array]>): Uint8Array {
    for (const [bucket, hash] of leaves) {
      this.#nodes.set(hash, (BUCKETS + bucket) * HASH);
      for (let node = (BUCKETS + bucket) >> 1; node > 0; node >>= 1) this.#hash(node);
    }
    return this.root;
  }

  #hash(node: number): void {
    const children = this.#nodes.subarray(2 * node * HASH, (2 * node + 2) * HASH);
    this.#nodes.set(createHash('sha256').update(children).digest(), node * HASH);
  }
}

/** Whether this node has the same two children as the next one on its level. */
function sameChildren(nodes: Uint8Array, node: number): boolean {
  const at = 2 * node * HASH;
  return Buffer.compare(nodes.subarray(at, at + 2 * HASH), nodes.subarray(at + 2 * HASH, at + 4 * HASH)) === 0;
}
